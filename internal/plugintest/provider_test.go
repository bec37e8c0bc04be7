package plugintest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
)

// faultSpec is a fault section: demoidp.Fault as data.
type faultSpec struct {
	Status  int               `json:"status"` // with a body the default is 200
	Header  map[string]string `json:"header"`
	Body    string            `json:"body"`
	Set     map[string]any    `json:"set"`    // members of the provider's own answer
	Remove  []string          `json:"remove"` // of it
	Deliver demoidp.Delivery  `json:"deliver"`
	Hang    bool              `json:"hang"`
	Times   int               `json:"times"`
}

// fault makes an endpoint misbehave; the token endpoint goes on handing out p.minted.
func (p *player) fault(e demoidp.Endpoint, spec faultSpec) {
	f := &demoidp.Fault{Status: spec.Status, Deliver: spec.Deliver, Hang: spec.Hang, Times: spec.Times, Body: []byte(spec.Body)}
	if spec.Body != "" && spec.Status == 0 {
		f.Status = http.StatusOK
	}
	f.Header = http.Header{}
	for name, value := range spec.Header {
		f.Header.Set(name, value)
	}
	minted, mintedID := "", ""
	if e == demoidp.TokenEndpoint {
		p.tokenFault, minted, mintedID = spec, p.minted, p.mintedID
	}
	f.Mutate = func(m map[string]any) {
		if _, granted := m["access_token"]; granted && minted != "" {
			m["access_token"] = minted
		}
		if _, granted := m["access_token"]; granted && mintedID != "" {
			m["id_token"] = mintedID
		}
		for name, value := range spec.Set {
			m[name] = value
		}
		for _, name := range spec.Remove {
			delete(m, name)
		}
	}
	p.idp.SetFault(e, f)
}

// tokenSpec is a token section: demoidp.Token as data. A null in header or claims
// removes the member.
type tokenSpec struct {
	Alg string `json:"alg"`
	// Key is "foreign" (nobody publishes it, but it claims the kid of one that is), "hmac:" and
	// a secret, or "": the provider's own.
	Key       string         `json:"key"`
	Header    map[string]any `json:"header"`
	Claims    map[string]any `json:"claims"`
	Payload   string         `json:"payload"`   // instead of all claims
	Signature string         `json:"signature"` // base64url, instead of the real one
	// Raw is the token byte for byte, in which HEADER, PAYLOAD and SIGNATURE stand for the
	// segments of the one that is described.
	Raw string `json:"raw"`
}

func (p *player) mint(spec tokenSpec) string {
	p.Helper()
	t := demoidp.Token{Alg: spec.Alg, Header: map[string]any{}, Claims: spec.Claims}
	if spec.Payload != "" {
		t.Payload = []byte(spec.Payload)
	}
	switch secret, isHMAC := strings.CutPrefix(spec.Key, "hmac:"); {
	case isHMAC:
		t.Key = &demoidp.Key{ID: p.kid("RS256"), Alg: spec.Alg, Secret: []byte(secret)}
	case spec.Key == "foreign":
		alg := spec.Alg
		if alg == "" {
			alg = "ES256"
		}
		key, err := demoidp.NewKey(alg)
		if err != nil {
			p.Fatal(err)
		}
		t.Key = key
		t.Header["kid"] = p.kid(alg)
	}
	for name, value := range spec.Header {
		t.Header[name] = value
	}
	token := p.sign(t)
	segments := strings.Split(token, ".")
	if spec.Signature != "" {
		segments[2] = spec.Signature
		token = strings.Join(segments, ".")
	}
	if spec.Raw != "" {
		token = strings.NewReplacer("HEADER", segments[0], "PAYLOAD", segments[1], "SIGNATURE", segments[2]).Replace(spec.Raw)
	}
	if len(token) > 20 {
		p.canaries = append(p.canaries, token)
	}
	return token
}

func (p *player) sign(t demoidp.Token) string {
	p.Helper()
	token, err := p.idp.Sign(t)
	if err != nil {
		p.Fatal(err)
	}
	p.canaries = append(p.canaries, token)
	return token
}

func (p *player) kid(alg string) string {
	p.Helper()
	key, err := p.idp.Key(alg)
	if err != nil {
		p.Fatal(err)
	}
	return key.ID
}

// expand fills in what only the run knows: text/template, whose strings may hold any
// byte as \xNN.
func (p *player) expand(text string) string {
	p.Helper()
	funcs := template.FuncMap{
		"basic": func(id, secret string) string {
			p.canaries = append(p.canaries, strings.TrimPrefix(basic(id, secret), "Basic "))
			if len(secret) > 4 {
				p.canaries = append(p.canaries, secret)
			}
			return basic(id, secret)
		},
		"b64":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"b64url":  func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
		"secret":  func() string { return plugintest.ClientSecret },
		"issuer":  p.idp.Issuer,
		"host":    p.idp.Addr,
		"trap":    func() string { return p.trap.url },
		"headers": p.headersEndpoint,
		"kid":     p.kid,
		"now":     func(ahead int64) int64 { return time.Now().Unix() + ahead },
		"token":   func() string { return p.sign(demoidp.Token{}) },
		"minted":  func() string { return p.minted },
		"id":      func() string { return p.mintedID },
		"repeat":  func(n int, s string) string { return strings.Repeat(s, n) },
		"lines": func(n int, format string) string {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, format+"\n", i)
			}
			return b.String()
		},
	}
	parsed, err := template.New("").Funcs(funcs).Parse(text)
	if err != nil {
		p.Fatal(err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, nil); err != nil {
		p.Fatal(err)
	}
	return b.String()
}

// headersEndpoint is a token endpoint of its own whose answers have headers to replay.
func (p *player) headersEndpoint() string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Quota", "7")
		w.Header().Set("X-Node", "n1")
		w.Header().Set("X-Zone", "z1")
		fmt.Fprint(w, `{"access_token":"opaque-token-with-headers","token_type":"Bearer"}`)
	}))
	p.Cleanup(server.Close)
	return server.URL + "/token"
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func itoa(n int) string { return strconv.Itoa(n) }

func startIDP(t testing.TB, o demoidp.Options) *demoidp.Server {
	t.Helper()
	idp, err := demoidp.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(idp.Close)
	return idp
}

// trap is a server that nobody has any reason to call.
type trap struct {
	url  string
	hits atomic.Int64
}

func newTrap(t testing.TB) *trap {
	tr := &trap{}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { tr.hits.Add(1) }))
	t.Cleanup(server.Close)
	tr.url = server.URL
	return tr
}
