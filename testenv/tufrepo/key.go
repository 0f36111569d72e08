package tufrepo

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"maps"
)

// Key signs.
type Key struct {
	Type, Scheme, Public string
	Extra                Object // further fields, which count for the id
	sign                 func([]byte) []byte
}

// ID is the hash of the key's canonical form.
func (k *Key) ID() string {
	h := sha256.Sum256(Canonical(k.object()))
	return hex.EncodeToString(h[:])
}

func (k *Key) object() Object {
	o := Object{"keytype": k.Type, "scheme": k.Scheme, "keyval": Object{"public": k.Public}}
	maps.Copy(o, k.Extra)
	return o
}

// Ed25519 makes a key.
func Ed25519() *Key {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return FromEd25519(priv)
}

// FromEd25519 signs with a key that exists.
func FromEd25519(priv ed25519.PrivateKey) *Key {
	return &Key{
		Type: "ed25519", Scheme: "ed25519", Public: hex.EncodeToString(priv.Public().(ed25519.PublicKey)),
		sign: func(p []byte) []byte { return ed25519.Sign(priv, p) },
	}
}

// ECDSA makes a P-256 key.
func ECDSA() *Key {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Key{
		Type: "ecdsa", Scheme: "ecdsa-sha2-nistp256", Public: toPEM(&priv.PublicKey),
		sign: func(p []byte) []byte {
			h := sha256.Sum256(p)
			sig, err := ecdsa.SignASN1(rand.Reader, priv, h[:])
			if err != nil {
				panic(err)
			}
			return sig
		},
	}
}

// RSA makes a key for PSS.
func RSA() *Key {
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return &Key{
		Type: "rsa", Scheme: "rsassa-pss-sha256", Public: toPEM(&priv.PublicKey),
		sign: func(p []byte) []byte {
			h := sha256.Sum256(p)
			sig, err := rsa.SignPSS(rand.Reader, priv, crypto.SHA256, h[:], nil)
			if err != nil {
				panic(err)
			}
			return sig
		},
	}
}

func toPEM(pub any) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Forge makes a key whose signatures are somebody else's.
func (k *Key) Forge(by *Key) *Key {
	f := *k
	f.sign = by.sign
	return &f
}
