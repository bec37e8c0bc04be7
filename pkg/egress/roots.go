package egress

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
)

// Roots returns the system's trusted roots with the PEM certificates added.
func Roots(pem []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without roots still has the added ones
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("egress: no certificate in the CA file")
	}
	return pool, nil
}

// SetRootCAs replaces Options.RootCAs while the Pool is in use: for all new connections, and the
// kept ones are used no more.
func (p *Pool) SetRootCAs(roots *x509.CertPool) {
	p.roots.Store(roots)
	p.mu.Lock()
	clients := maps.Clone(p.clients)
	p.mu.Unlock()
	for _, c := range clients {
		c.leaveBehind(c.transport.Load())
	}
}

// trusting is cfg with the roots of now.
func (p *Pool) trusting(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.RootCAs = p.roots.Load()
	return cfg
}
