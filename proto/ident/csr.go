package ident

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
)

// ErrCSR is a certificate request that is not of our profile, not signed by its
// key, or not made for this session.
var ErrCSR = errors.New("certificate request refused")

const (
	// NonceLen is the length of the nonce in a Challenge frame.
	NonceLen = 32
	// ExporterLabel is that of the TLS exporter (RFC 8446, section 7.5) that a
	// certificate request is bound to; no context, 32 bytes.
	ExporterLabel = "EXPORTER-hausmeister-csr-v1"

	csrPrefix = "hausmeister csr v1"
	csrMax    = 1024 // bytes of DER; ours have about 250
)

// Challenge is what a certificate request must contain to be good on this session
// and for this nonce only. A request that was overheard or kept is worthless on
// any other session, even for the collector's own operator.
func Challenge(nonce []byte, cs tls.ConnectionState) (string, error) {
	if len(nonce) != NonceLen {
		return "", fmt.Errorf("nonce of %d bytes, want %d", len(nonce), NonceLen)
	}
	bound, err := cs.ExportKeyingMaterial(ExporterLabel, nil, 32)
	if err != nil {
		return "", fmt.Errorf("exporting keying material: %w", err)
	}
	h := sha256.New()
	h.Write([]byte(csrPrefix))
	h.Write(nonce)
	h.Write(bound)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)), nil
}

var (
	oidChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7} // PKCS #9
	oidECDSAWithSHA256   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// The parts of PKCS #10 (RFC 2986) that we use. crypto/x509 cannot write a
// challengePassword: its attributes are sequences, this one is a string.
type (
	requestAttribute struct {
		ID     asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
	requestInfo struct {
		Version    int
		Subject    asn1.RawValue
		PublicKey  asn1.RawValue
		Attributes []requestAttribute `asn1:"tag:0,set"`
	}
	signedRequest struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
)

// requestInfoFor is the one encoding of what a key signs for a challenge.
func requestInfoFor(pub crypto.PublicKey, challenge string) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	// UTF8String and not PrintableString: base64url has an underscore.
	password, err := asn1.MarshalWithParams(challenge, "utf8")
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(requestInfo{
		Subject:    asn1.RawValue{FullBytes: []byte{asn1.TagSequence | 0x20, 0}}, // no name: the collector gives the id
		PublicKey:  asn1.RawValue{FullBytes: spki},
		Attributes: []requestAttribute{{ID: oidChallengePassword, Values: []asn1.RawValue{{FullBytes: password}}}},
	})
}

// CreateCSR makes a certificate request for key that answers challenge.
func CreateCSR(key crypto.Signer, challenge string) ([]byte, error) {
	if !isP256(key.Public()) {
		return nil, errors.New("device key is not P-256")
	}
	info, err := requestInfoFor(key.Public(), challenge)
	if err != nil {
		return nil, fmt.Errorf("encoding certificate request: %w", err)
	}
	digest := sha256.Sum256(info)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing certificate request: %w", err)
	}
	return asn1.Marshal(signedRequest{
		Info:      asn1.RawValue{FullBytes: info},
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
		Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})
}

// CheckCSR returns the public key of a request that answers challenge, and its
// fingerprint. It does not read attributes at all: a request of our profile has
// one encoding, so that one is made again from key and challenge and compared.
func CheckCSR(der []byte, challenge string) (*ecdsa.PublicKey, Fingerprint, error) {
	if len(der) > csrMax {
		return nil, Fingerprint{}, fmt.Errorf("%w: %d bytes long", ErrCSR, len(der))
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, Fingerprint{}, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	pub, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || !isP256(pub) {
		return nil, Fingerprint{}, fmt.Errorf("%w: key is not P-256", ErrCSR)
	}
	want, err := requestInfoFor(pub, challenge)
	if err != nil {
		return nil, Fingerprint{}, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	if !bytes.Equal(want, csr.RawTBSCertificateRequest) {
		return nil, Fingerprint{}, fmt.Errorf("%w: not made for this session", ErrCSR)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, Fingerprint{}, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	return pub, sha256.Sum256(csr.RawSubjectPublicKeyInfo), nil
}
