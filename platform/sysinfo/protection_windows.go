package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// encryption is told to administrators only.
func (*windowsSource) encryption(context.Context) (Guard, error) {
	volumes, err := wmi(nsVolumes, "Win32_EncryptableVolume", "DriveLetter", "VolumeType", "ProtectionStatus")
	if err != nil {
		return "", err
	}
	return encryptionOf(volumes)
}

func (*windowsSource) firewall(context.Context) (Guard, error) {
	profiles, err := firewallProfiles()
	if err != nil {
		return "", err
	}
	// Servers have no security center.
	others, _ := wmi(nsSecurity, "FirewallProduct", "productState")
	return firewallOf(profiles, others), nil
}

func (*windowsSource) antivirus(context.Context) (antivirus, error) {
	products, err := wmi(nsSecurity, "AntiVirusProduct", "productState")
	if err != nil && why(err) != NotSupported {
		return antivirus{}, err
	}
	status, err := wmi(nsDefender, "MSFT_MpComputerStatus", "AntivirusEnabled", "RealTimeProtectionEnabled", "AntivirusSignatureAge")
	if err != nil && why(err) != NotSupported && len(products) == 0 {
		return antivirus{}, err
	}
	var defender row
	if len(status) > 0 {
		defender = status[0]
	}
	return antivirusOf(products, defender)
}

// secureBoot: a machine that started by BIOS has no such key.
func (*windowsSource) secureBoot(context.Context) (Guard, error) {
	n, err := read(`SYSTEM\CurrentControlSet\Control\SecureBoot\State`, func(k registry.Key) (uint64, error) {
		n, _, err := k.GetIntegerValue("UEFISecureBootEnabled")
		return n, err
	})
	switch {
	case errors.Is(err, windows.ERROR_FILE_NOT_FOUND):
		return "", errAbsent{NoHardware}
	case err != nil:
		return "", err
	case n == 1:
		return On, nil
	}
	return Off, nil
}

var (
	tbs              = windows.NewLazySystemDLL("tbs.dll")
	tbsGetDeviceInfo = tbs.NewProc("Tbsi_GetDeviceInfo")
)

// tpm asks the TPM base services, which needs no rights, unlike Win32_Tpm.
func (*windowsSource) tpm(context.Context) (string, error) {
	if tbsGetDeviceInfo.Find() != nil {
		return "", errAbsent{NotSupported}
	}
	info := struct{ structVersion, version, interfaceType, revision uint32 }{structVersion: 1}
	r, _, _ := tbsGetDeviceInfo.Call(unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)))
	const notFound = 0x8028400f // TBS_E_TPM_NOT_FOUND
	switch {
	case uint32(r) == notFound:
		return "", errAbsent{NoHardware}
	case r != 0:
		return "", fmt.Errorf("asking for the TPM: code %#08x", uint32(r))
	case info.version == 1:
		return "1.2", nil
	case info.version == 2:
		return "2.0", nil
	}
	return "", errAbsent{NotSupported}
}

// metered is what Windows thinks of the connection in use.
func (*windowsSource) metered(context.Context) (bool, error) {
	cost, err := networkCost()
	if err != nil {
		return false, err
	}
	return meteredBy(cost)
}
