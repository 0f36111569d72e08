package enroll

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hausmeister/platform/keystore"
	"hausmeister/platform/layout"
	"hausmeister/proto/ident"
)

// The folder of the authority. Intermediate keys carry a number in their name:
// the new one is there before the certificate that speaks for it.
const (
	rootKey            = "root"
	rootFile           = "root.crt"
	intermediateKeys   = "intermediate-"
	intermediateFile   = "intermediate.crt"
	readmeFile         = "README"
	rootWarningStep    = 24 * time.Hour
	certificatePEMType = "CERTIFICATE"
)

// readme stands beside root.key, where whoever must decide about it looks.
//
//go:embed authority.txt
var readme []byte

// authority is the device CA on the disk and what follows from it in memory.
type authority struct {
	dir   string
	keys  *keystore.Store
	names []string
	now   func() time.Time
	log   *slog.Logger

	// renewing is held while certificates are made anew; it is taken before mu.
	renewing sync.Mutex
	// below is guarded by renewing
	warned time.Time

	mu sync.Mutex
	// below is guarded by mu
	ca      *ident.Authority
	trusted *ident.Trust
	server  *tls.Certificate
	checked time.Time // when refresh last looked
}

// refreshStep is how often it is looked whether a certificate is past its half-life.
const refreshStep = time.Hour

// openAuthority reads the authority, or makes it in an empty folder.
func openAuthority(dir string, names []string, now func() time.Time, log *slog.Logger) (*authority, error) {
	a := &authority{dir: dir, keys: keystore.Open(dir), names: names, now: now, log: log}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := a.openRoot()
	if err != nil {
		return nil, err
	}
	intermediate, err := readCertificate(filepath.Join(dir, intermediateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return a, a.renewIntermediate(root)
	}
	if err != nil {
		return nil, err
	}
	key, err := a.keyOf(intermediate)
	if err != nil {
		return nil, err
	}
	if err := a.use(&ident.Authority{Root: root, Intermediate: intermediate, Key: key}); err != nil {
		return nil, err
	}
	return a, a.refresh()
}

// openRoot reads the root's certificate. Only in a folder that has none, and no
// intermediate of an earlier one, it makes a key and signs it.
func (a *authority) openRoot() (*x509.Certificate, error) {
	root, err := readCertificate(filepath.Join(a.dir, rootFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	if _, err := os.Lstat(filepath.Join(a.dir, intermediateFile)); err == nil {
		return nil, fmt.Errorf("%s is missing beside %s: put it back", rootFile, intermediateFile)
	}
	if a.now().Before(ident.AuthorityBegin) {
		return nil, fmt.Errorf("the clock says %s: set it before the first start", a.now().Format(time.DateOnly))
	}
	key, err := a.keys.Signer(rootKey) // left by a crash between key and certificate
	if errors.Is(err, keystore.ErrNoKey) {
		key, err = a.keys.Create(rootKey)
	}
	if err != nil {
		return nil, err
	}
	if err := layout.WriteFile(filepath.Join(a.dir, readmeFile), readme, 0o600); err != nil {
		return nil, err
	}
	if root, err = ident.NewRoot(key, a.now()); err != nil {
		return nil, err
	}
	if err := writeCertificate(filepath.Join(a.dir, rootFile), root); err != nil {
		return nil, err
	}
	a.log.Info("device authority made", "folder", a.dir, "root", ident.FingerprintOf(root).String())
	return root, nil
}

// renewIntermediate makes a new intermediate and uses it. It needs the root's key.
func (a *authority) renewIntermediate(root *x509.Certificate) error {
	rootSigner, err := a.keys.Signer(rootKey)
	if err != nil {
		return err
	}
	if !samePublicKey(root, rootSigner) {
		return fmt.Errorf("%s.key and %s do not belong together", rootKey, rootFile)
	}
	now := a.now()
	name := fmt.Sprintf("%s%d", intermediateKeys, now.UnixMilli())
	key, err := a.keys.Create(name)
	if err != nil {
		return err
	}
	intermediate, err := ident.NewIntermediate(root, rootSigner, key.Public(), now)
	if err != nil {
		return err
	}
	if err := writeCertificate(filepath.Join(a.dir, intermediateFile), intermediate); err != nil {
		return err
	}
	if err := a.use(&ident.Authority{Root: root, Intermediate: intermediate, Key: key}); err != nil {
		return err
	}
	a.log.Info("intermediate renewed", "until", intermediate.NotAfter)
	a.dropKeys(name)
	return nil
}

// use makes ca the one that signs.
func (a *authority) use(ca *ident.Authority) error {
	trust, err := ident.NewTrust([]*x509.Certificate{ca.Root}, ca.Intermediate)
	if err != nil {
		return err
	}
	server, err := ca.IssueServer(a.names, a.now())
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ca, a.trusted, a.server = ca, trust, server
	return nil
}

// refresh renews what is past its half-life: the intermediate if the root's key
// is here, and the server's certificate. Each handshake asks for it too: after a
// night in which the machine slept nobody waits for a timer.
func (a *authority) refresh() error {
	a.renewing.Lock()
	defer a.renewing.Unlock()
	now := a.now()
	a.mu.Lock()
	ca, server, age := a.ca, a.server, now.Sub(a.checked)
	if due := age < 0 || age >= refreshStep; !due {
		a.mu.Unlock()
		return nil
	}
	a.checked = now
	a.mu.Unlock()
	spare := ca.Intermediate.NotAfter.Sub(now)
	if spare <= ident.IntermediateSpare && ca.Intermediate.NotAfter.Before(ca.Root.NotAfter) {
		err := a.renewIntermediate(ca.Root)
		if !errors.Is(err, keystore.ErrNoKey) {
			return err
		}
		if now.Sub(a.warned) >= rootWarningStep {
			a.log.Warn("intermediate must be renewed: put root.key back for an hour, see README beside it",
				"folder", a.dir, "signs_until", ca.Intermediate.NotAfter)
			a.warned = now
		}
	}
	if now.Before(ident.RenewAt(server.Leaf.NotBefore, server.Leaf.NotAfter)) {
		return nil
	}
	return a.use(ca)
}

// current is refresh for those who go on with what there is when it fails.
func (a *authority) current() *ident.Authority {
	if err := a.refresh(); err != nil {
		a.log.Error("device authority not renewed", "error", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca
}

// issue signs a device's certificate and returns the answer to the device.
func (a *authority) issue(pub *ecdsa.PublicKey, device string, now time.Time) (chain [][]byte, err error) {
	ca := a.current()
	leaf, err := ca.IssueDevice(pub, device, now)
	if err != nil {
		return nil, err
	}
	return ca.Chain(leaf), nil
}

func (a *authority) deviceUntil(now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca.DeviceUntil(now)
}

func (a *authority) trust() *ident.Trust {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trusted
}

func (a *authority) roots() [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return [][]byte{a.ca.Root.Raw}
}

func (a *authority) fingerprint() ident.Fingerprint {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ident.FingerprintOf(a.ca.Root)
}

func (a *authority) serverCertificate() (*tls.Certificate, error) {
	a.current()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.server, nil
}

// keyOf finds the key of the intermediate among those that a crash may have left.
func (a *authority) keyOf(c *x509.Certificate) (crypto.Signer, error) {
	names, err := a.keys.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, intermediateKeys) {
			continue
		}
		key, err := a.keys.Signer(name)
		if err != nil {
			return nil, err
		}
		if samePublicKey(c, key) {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s: its key is missing", intermediateFile)
}

// dropKeys deletes the keys of earlier intermediates.
func (a *authority) dropKeys(keep string) {
	names, err := a.keys.Names()
	for _, name := range names {
		if strings.HasPrefix(name, intermediateKeys) && name != keep {
			err = errors.Join(err, a.keys.Delete(name))
		}
	}
	if err != nil {
		a.log.Warn("keys of earlier intermediates not deleted", "error", err)
	}
}

func samePublicKey(c *x509.Certificate, key crypto.Signer) bool {
	pub, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok && pub.Equal(key.Public())
}

func readCertificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != certificatePEMType {
		return nil, fmt.Errorf("%s is no certificate", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func writeCertificate(path string, c *x509.Certificate) error {
	return layout.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: certificatePEMType, Bytes: c.Raw}), 0o600)
}
