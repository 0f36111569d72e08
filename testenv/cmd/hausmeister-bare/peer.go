package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// As of our own sessions.
const (
	keepAlive = 25 * time.Second
	maxIdle   = 90 * time.Second
	name      = "bare"
)

// echo serves one connection: what comes on its stream goes back.
func echo(ctx context.Context, c *quic.Conn) {
	defer c.CloseWithError(0, "")
	s, err := c.AcceptStream(ctx)
	if err != nil {
		return
	}
	b := make([]byte, 16)
	for {
		n, err := s.Read(b)
		if err != nil {
			return
		}
		if _, err := s.Write(b[:n]); err != nil {
			return
		}
	}
}

// visit opens a connection and waits for the first echo: only then has the
// server looked at our certificate. The connection stays.
func visit(ctx context.Context, from *quic.Transport, to net.Addr, conf *tls.Config) error {
	c, err := from.Dial(ctx, to, conf, &quic.Config{KeepAlivePeriod: keepAlive, MaxIdleTimeout: maxIdle})
	if err != nil {
		return err
	}
	s, err := c.OpenStreamSync(ctx)
	if err == nil {
		_, err = s.Write([]byte("hello"))
	}
	if err == nil {
		_, err = io.ReadFull(s, make([]byte, 5))
	}
	if err != nil {
		c.CloseWithError(0, "")
	}
	return err
}

func serverTLS() (*tls.Config, error) {
	cert, pool, err := certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{name}, SessionTicketsDisabled: true,
	}, nil
}

func clientTLS() (*tls.Config, error) {
	cert, pool, err := certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: name,
		MinVersion: tls.VersionTLS13, NextProtos: []string{name},
	}, nil
}

// certificate makes one that both ends accept: the authority's key is no
// secret, so that each end can be the authority.
func certificate() (tls.Certificate, *x509.CertPool, error) {
	caKey, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{name},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool, err
}
