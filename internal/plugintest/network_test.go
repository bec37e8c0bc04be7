package plugintest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
)

// TestRow60Rotation: keys change while the gateway runs.
func TestRow60Rotation(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.config["rediscovery_lifetime"] = 30
	old, err := p.idp.Key("RS256")
	if err != nil {
		t.Fatal(err)
	}
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls jwks=1")

	p.rotate(demoidp.Rotation{DropOld: true})
	p.ask(`Authorization: {{basic "other" "other-secret-5a1f"}}`, "A\ncalls jwks=2") // a new kid: one fetch

	p.minted = p.sign(demoidp.Token{Key: old, Claims: map[string]any{"client_id": nil}})
	p.fault(demoidp.TokenEndpoint, faultSpec{})
	p.ask(`Authorization: {{basic "a" "bc"}}`, "T idp_bad_token\nlog no_key\ncalls jwks=2") // a removed kid
	p.ask(`Authorization: {{basic "service" secret}}`, "A\nupstream Authorization: ~Bearer .*\ncalls jwks=2")
	p.end()
}

// TestRow60SameKid: another key under the same kid is fetched once, and not again for
// each signature that does not verify.
func TestRow60SameKid(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls jwks=1")
	p.rotate(demoidp.Rotation{SameKeyIDs: true})
	p.ask(`Authorization: {{basic "other" "other-secret-5a1f"}}`, "A\ncalls jwks=2")
	p.minted = p.mint(tokenSpec{Alg: "ES256", Key: "foreign", Claims: map[string]any{"client_id": nil}})
	p.fault(demoidp.TokenEndpoint, faultSpec{})
	for _, credentials := range []string{`"a" "bc"`, `"ab" "c"`, `"colons" "a:b:c-secret"`} {
		p.ask(`Authorization: {{basic `+credentials+`}}`, "T idp_bad_token\nlog bad_sig\ncalls jwks=2")
	}
	p.end()
}

func (p *player) rotate(how demoidp.Rotation) {
	p.Helper()
	if err := p.idp.RotateKey(how); err != nil {
		p.Fatal(err)
	}
}

// TestRow43Rotation: the provider no longer takes a secret whose token is cached. The
// renewal learns it, and the token is not used to its end.
func TestRow43Rotation(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls token=1")
	p.fault(demoidp.TokenEndpoint, faultSpec{Status: 401, Body: `{"error":"invalid_client"}`})
	p.ahead.Add(int64(270 * time.Second)) // of the 300 that the token lives
	for asked := 0; ; asked++ {           // the renewal is in the background
		p.send()
		if p.answer.Status != http.StatusOK || asked == 2000 {
			break
		}
	}
	p.check(parseWant(p, "U invalid_client\ncalls token=2"))
	p.end()
}

// TestRow43RightAfterWrong: a refusal is forgotten after cache_ttl_neg.
func TestRow43RightAfterWrong(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.config["cache_ttl_neg"] = 0.2
	p.fault(demoidp.TokenEndpoint, faultSpec{Status: 401, Body: `{"error":"invalid_client"}`, Times: 1})
	p.ask(`Authorization: {{basic "service" secret}}`, "U invalid_client\ncalls token=1")
	for p.answer.Status != http.StatusOK {
		p.send()
	}
	p.check(parseWant(p, "A\ncalls token=2"))
	p.end()
}

// TestRow62TLS: providers whose certificate proves nothing.
func TestRow62TLS(t *testing.T) {
	good := authority(t)
	for _, c := range []struct {
		name      string
		leaf      leaf
		trusted   *ca
		config    map[string]any
		maxTLS    uint16
		want, log string
	}{
		{name: "trusted", trusted: good, want: "A"},
		{name: "unknown authority", trusted: authority(t), want: "T idp_tls", log: "-ca-file"},
		{name: "wrong host", leaf: leaf{host: "elsewhere.example"}, trusted: good, want: "T idp_tls", log: "another host"},
		{name: "expired", leaf: leaf{expired: true}, trusted: good, want: "T idp_tls", log: "expired"},
		{name: "RSA of 1024 bits", leaf: leaf{weak: true}, trusted: good, want: "T idp_tls", log: "2048 bits"},
		{name: "TLS 1.1", trusted: good, maxTLS: tls.VersionTLS11, want: "T idp_tls"},
		{name: "not verified", trusted: authority(t), config: map[string]any{"ssl_verify": false}, want: "A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := demoidp.Options{Clients: clients, TLS: &tls.Config{Certificates: []tls.Certificate{good.issue(t, c.leaf)}}}
			if c.maxTLS != 0 {
				o.TLS.MinVersion, o.TLS.MaxVersion = tls.VersionTLS10, c.maxTLS
			}
			p := newPlayer(t, startIDP(t, o), newTrap(t))
			p.options.RootCAs = c.trusted.pool
			for name, value := range c.config {
				p.config[name] = value
			}
			want := c.want
			if c.log != "" {
				want += "\nlog " + c.log
			}
			p.ask(`Authorization: {{basic "service" secret}}`, want)
			warned := 0
			if c.config != nil {
				p.configure(`{"ssl_verify": false}`) // the same once more
				p.ask(`Authorization: {{basic "service" secret}}`, want)
				warned = 1
			}
			if n := strings.Count(p.g.Log.String(), "field=config.ssl_verify"); n != warned {
				t.Errorf("%d warnings about ssl_verify, want %d", n, warned)
			}
			p.end()
		})
	}
}

// ca is a certificate authority of a test.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

func authority(t testing.TB) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &ca{cert: cert, key: key, pool: pool}
}

// leaf is what is wrong with a certificate.
type leaf struct {
	host          string // instead of 127.0.0.1
	expired, weak bool
}

func (c *ca) issue(t testing.TB, l leaf) tls.Certificate {
	t.Helper()
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if l.weak {
		key, err = rsa.GenerateKey(rand.Reader, 1024)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "provider"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if l.host != "" {
		template.IPAddresses, template.DNSNames = nil, []string{l.host}
	}
	if l.expired {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRow63Network: providers that cannot be reached.
func TestRow63Network(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := refusing.Addr().String()
	_ = refusing.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel connects, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	idp, trap := startIDP(t, demoidp.Options{Clients: clients}), newTrap(t)
	for _, c := range []struct {
		name, issuer, reason string
		resolve              map[string]string
		config               map[string]any
	}{
		{name: "connection refused", issuer: "http://" + closed, reason: "idp_unreachable"},
		{name: "refused behind a name", issuer: "http://idp.test:8080/realm", resolve: map[string]string{"idp.test:8080": closed}, reason: "idp_unreachable"},
		{name: "nobody answers", issuer: "http://" + silent.Addr().String(), config: map[string]any{"timeout": 300}, reason: "idp_timeout"},
		{name: "nobody answers over TLS", issuer: "https://" + silent.Addr().String(), config: map[string]any{"timeout": 1000}, reason: "idp_timeout"},
		{name: "proxy wants a login", issuer: "http://idp.test:8080", config: map[string]any{"http_proxy": proxy.URL}, reason: "idp_proxy"},
		{name: "proxy refuses", issuer: "http://idp.test:8080", config: map[string]any{"http_proxy": "http://" + closed}, reason: "idp_proxy"},
		{name: "name leads to a metadata address", issuer: "http://idp.test:8080", resolve: map[string]string{"idp.test:8080": "169.254.169.254:80"}, reason: "idp_refused_address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlayer(t, idp, trap)
			p.config["issuer"], p.options.Resolve = c.issuer, c.resolve
			for name, value := range c.config {
				p.config[name] = value
			}
			p.ask(`Authorization: {{basic "service" secret}}`, "T "+c.reason+"\ncalls token=0")
			p.end()
		})
	}
}

// TestRow63Recovery: a provider that is back is found, whether it went before the first
// request or after it; what is cached is served meanwhile.
func TestRow63Recovery(t *testing.T) {
	p := newPlayer(t, startIDP(t, demoidp.Options{Clients: clients}), newTrap(t))
	p.config["rediscovery_lifetime"] = 1 // the pace of looking again; 5 s at most
	p.idp.Stop()
	p.ask(`Authorization: {{basic "service" secret}}`, "T idp_unreachable\nheader Retry-After: ~[1-5]")
	if err := p.idp.Restart(); err != nil {
		t.Fatal(err)
	}
	for p.answer.Status != http.StatusOK {
		p.send()
	}
	p.check(parseWant(p, "A\ncalls token=1"))

	p.ahead.Add(int64(2 * time.Second)) // what was asked in vain has used up this second's log lines
	p.idp.Stop()
	p.ask(`Authorization: {{basic "service" secret}}`, "A\ncalls token=1")
	p.ask(`Authorization: {{basic "other" "other-secret-5a1f"}}`, "T idp_unreachable")
	if err := p.idp.Restart(); err != nil {
		t.Fatal(err)
	}
	p.ask(`Authorization: {{basic "other" "other-secret-5a1f"}}`, "A\ncalls token=2")
	p.end()
}
