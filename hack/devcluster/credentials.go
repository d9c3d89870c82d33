package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// identity is whom a certificate stands for: a user, its groups and, for one that
// serves, the names and addresses it is reached by.
type identity struct {
	user   string
	groups []string
	hosts  []string
}

// credentials is a certificate authority and what it issued, as files in one folder.
// The authority and the service account key stay when a cluster is started again, so
// that tokens and copies of kubeconfigs go on working; the rest is issued anew.
type credentials struct {
	dir    string
	caCert *x509.Certificate
	caKey  crypto.Signer
}

func newCredentials(dir string, identities map[string]identity) (*credentials, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &credentials{dir: dir}
	err := c.loadCA()
	if errors.Is(err, fs.ErrNotExist) {
		err = c.makeCA()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	if err := c.ensureServiceAccountKey(); err != nil {
		return nil, fmt.Errorf("service account key in %s: %w", dir, err)
	}
	for name, id := range identities {
		if err := c.issue(name, id); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", c.cert(name), err)
		}
	}
	return c, nil
}

func (c *credentials) cert(name string) string { return filepath.Join(c.dir, name+".crt") }
func (c *credentials) key(name string) string  { return filepath.Join(c.dir, name+".key") }
func (c *credentials) public(name string) string {
	return filepath.Join(c.dir, name+".pub")
}

func (c *credentials) loadCA() error {
	cert, err := readPEM(c.cert("ca"))
	if err != nil {
		return err
	}
	key, err := readPEM(c.key("ca"))
	if err != nil {
		return err
	}
	if c.caCert, err = x509.ParseCertificate(cert); err != nil {
		return err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%s cannot sign", c.key("ca"))
	}
	c.caKey = signer
	return nil
}

func (c *credentials) makeCA() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t, err := certificateFor("devcluster-ca")
	if err != nil {
		return err
	}
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	if c.caCert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	c.caKey = key
	// The certificate comes last: it alone says that both are there.
	if err := writeKey(c.key("ca"), key); err != nil {
		return err
	}
	return writePEM(c.cert("ca"), "CERTIFICATE", der, 0o644)
}

// ensureServiceAccountKey makes an RSA key: every client can check RS256 tokens.
func (c *credentials) ensureServiceAccountKey() error {
	if _, err := os.Stat(c.key("sa")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(c.public("sa"), "PUBLIC KEY", public, 0o644); err != nil {
		return err
	}
	return writeKey(c.key("sa"), key)
}

func (c *credentials) issue(name string, id identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t, err := certificateFor(id.user)
	if err != nil {
		return err
	}
	t.Subject.Organization = id.groups
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.hosts) > 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range id.hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.caCert, key.Public(), c.caKey)
	if err != nil {
		return err
	}
	if err := writePEM(c.cert(name), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writeKey(c.key(name), key)
}

// certificateFor returns the template that all certificates here share. An hour
// before now, because the clocks of test machines differ.
func certificateFor(user string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}, nil
}

// writeKubeconfig writes a self-contained kubeconfig for the certificate name.
func (c *credentials) writeKubeconfig(path, server, name string) error {
	var encoded [3]string
	for i, file := range []string{c.cert("ca"), c.cert(name), c.key(name)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(content)
	}
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: dev
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %[3]s
  user: {client-certificate-data: %[4]s, client-key-data: %[5]s}
contexts:
- name: dev
  context: {cluster: dev, user: %[3]s}
current-context: dev
`, server, encoded[0], name, encoded[1], encoded[2]), 0o600)
}

func readPEM(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block.Bytes, nil
}

func writeKey(path string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
