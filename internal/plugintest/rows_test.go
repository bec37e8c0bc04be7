package plugintest_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
)

// TestRows plays testdata/*.txtar: what attackers and broken providers send through the
// whole plugin, and what its features do; and what must come back. testdata/README.md is
// the language's manual.
func TestRows(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rows: %v", err)
	}
	// A provider's keys cost more than a case: a few providers go round.
	providers := make(chan *demoidp.Server, 2)
	for range cap(providers) {
		providers <- startIDP(t, demoidp.Options{Clients: clients})
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			idp := <-providers
			defer func() { providers <- idp }()
			trap := newTrap(t)
			shared, cases := split(archive.Files)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					p := newPlayer(t, idp, trap)
					for _, section := range append(shared[:len(shared):len(shared)], c.sections...) {
						p.play(section)
					}
					p.end()
				})
			}
		})
	}
}

// clients of the provider; the odd ones are row 30's, 31's and 40's.
var clients = []demoidp.Client{
	{ID: plugintest.ClientID, Secret: plugintest.ClientSecret},
	{ID: "other", Secret: "other-secret-5a1f"},
	{ID: "opaque", Secret: "opaque-secret-77c2", Opaque: true},
	{ID: "colons", Secret: "a:b:c-secret"},
	{ID: "we:ird &=+%/ü", Secret: "p:%+&= /é-secret"},
	{ID: "reserved", Secret: "s:e+c/r%e&t=~ -secret"},
	{ID: "a", Secret: "bc"},
	{ID: "ab", Secret: "c"},
	{ID: "api://my-app", Secret: "my-app-secret-21e4"},
	{ID: "scoped", Secret: "scoped-secret-91d0", Scopes: []string{"allowed"}},
}

type testCase struct {
	name     string
	sections []txtar.File
}

// split separates what every case begins with from the cases.
func split(files []txtar.File) (shared []txtar.File, cases []testCase) {
	for _, f := range files {
		switch name, isCase := strings.CutPrefix(f.Name, "case "); {
		case isCase:
			cases = append(cases, testCase{name: name})
		case len(cases) == 0:
			shared = append(shared, f)
		default:
			last := &cases[len(cases)-1]
			last.sections = append(last.sections, f)
		}
	}
	if len(cases) == 0 {
		return nil, []testCase{{name: "only", sections: shared}}
	}
	return shared, cases
}

// player plays one case: a gateway of its own before a provider that nobody else uses.
type player struct {
	*testing.T
	options plugintest.Options // beside Config and Now
	idp     *demoidp.Server
	trap    *trap
	g       *plugintest.Gateway
	config  map[string]any // of the plugin, as it is or will be
	ahead   atomic.Int64   // nanoseconds that the plugin's clock is ahead

	tokenFault faultSpec // how the token endpoint misbehaves …
	minted     string    // … and the access token that it hands out instead of its own
	mintedID   string    // … and the ID token that it adds

	canaries []string // what must never be in a log, nor in the body of a refusal
	request  string
	pending  bool // request was not sent yet
	before   counts
	requests int // sent so far
	answer   plugintest.Response
}

func newPlayer(t *testing.T, idp *demoidp.Server, trap *trap) *player {
	p := &player{T: t, idp: idp, trap: trap, config: map[string]any{
		"issuer": idp.Issuer(), "auth_methods": []any{"client_credentials"}, "client_credentials_param_type": []any{"header"},
	}}
	for _, c := range clients {
		if len(c.Secret) > 4 { // a shorter one stands in words
			p.canaries = append(p.canaries, c.Secret)
		}
	}
	for _, e := range endpoints {
		idp.SetFault(e, nil)
	}
	idp.ResetCalls()
	return p
}

// play carries out one section.
func (p *player) play(section txtar.File) {
	p.Helper()
	kind, rest, _ := strings.Cut(section.Name, " ")
	text := p.expand(string(section.Data))
	switch kind {
	case "config":
		p.configure(text)
	case "fault":
		p.fault(demoidp.Endpoint(rest), decode[faultSpec](p, text))
	case "token":
		p.minted = p.mint(decode[tokenSpec](p, text))
		p.fault(demoidp.TokenEndpoint, p.tokenFault)
	case "id-token":
		p.mintedID = p.mint(decode[tokenSpec](p, text))
		p.fault(demoidp.TokenEndpoint, p.tokenFault)
	case "until":
		p.until(strings.TrimSpace(text))
	case "advance":
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			p.Fatal(err)
		}
		p.ahead.Add(int64(d))
	case "request":
		p.request, p.pending = rawRequest(text), true
	case "want":
		p.send()
		p.check(parseWant(p, text))
	default:
		p.Fatalf("no such section: %s", section.Name)
	}
}

func (p *player) configure(text string) {
	change := decode[map[string]any](p, text)
	maps.Copy(p.config, change)
	if p.g != nil {
		p.g.Patch(p, change)
	}
}

// send sends the request that is due: the one given, or once more the last one.
func (p *player) send() {
	p.Helper()
	if p.g == nil {
		p.start()
	}
	if p.request == "" {
		p.request = rawRequest("Authorization: " + basic(plugintest.ClientID, plugintest.ClientSecret))
	}
	p.before = p.count()
	p.answer = p.g.Raw(p, p.request)
	p.pending = false
	p.requests++
}

// until asks again until something in the background is done.
func (p *player) until(what string) {
	p.Helper()
	kind, text, _ := strings.Cut(what, " ")
	first := p.g.Upstream.Last(p).Header.Get("Authorization")
	for range 5000 {
		p.send()
		done := false
		switch kind {
		case "log":
			done = strings.Contains(p.g.Log.String(), text)
		case "status":
			done = itoa(p.answer.Status) == text
		case "renewed":
			done = p.g.Upstream.Last(p).Header.Get("Authorization") != first
		default:
			p.Fatalf("no such condition: %s", what)
		}
		if done {
			return
		}
	}
	p.Fatalf("never: %s\n%s", what, p.g.Log)
}

func (p *player) start() {
	p.Helper()
	o := p.options
	o.Config = p.config
	if o.Now == nil {
		o.Now = p.now
	}
	p.g = plugintest.Start(p, o)
}

func (p *player) now() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }

// ask is a request section and its want, for the rows that are played by Go.
func (p *player) ask(request, wanted string) {
	p.Helper()
	p.request = rawRequest(p.expand(request))
	p.send()
	p.check(parseWant(p, p.expand(wanted)))
}

// end makes the checks that hold for a case as a whole.
func (p *player) end() {
	if p.pending {
		p.Error("a request without a want")
	}
	if p.requests == 0 {
		p.Fatal("nothing was asked")
	}
	noSecrets(p, p.g.Log.String(), p.canaries)
	if n := p.trap.hits.Load(); n != 0 {
		p.Errorf("%d connections to an address that a token names", n)
	}
}

// counts are what has happened until now.
type counts struct {
	calls    map[demoidp.Endpoint]int
	upstream int
}

var endpoints = []demoidp.Endpoint{demoidp.DiscoveryEndpoint, demoidp.JWKSEndpoint, demoidp.TokenEndpoint, demoidp.OtherEndpoint}

func (p *player) count() counts {
	c := counts{calls: map[demoidp.Endpoint]int{}, upstream: len(p.g.Upstream.Seen())}
	for _, e := range endpoints {
		c.calls[e] = p.idp.Calls(e)
	}
	return c
}

// decode reads JSON strictly and keeps every digit of a number.
func decode[V any](t testing.TB, text string) (v V) {
	t.Helper()
	if strings.TrimSpace(text) == "" {
		return v
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// rawRequest completes a request: without a request line it is GET /, and a body gets
// its length unless the headers speak of it.
func rawRequest(text string) string {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.Trim(head, "\n"), "\n")
	if !strings.HasSuffix(lines[0], " HTTP/1.1") {
		lines = append([]string{"GET / HTTP/1.1"}, lines...)
	}
	lines = append(lines[:1], append([]string{"Host: gateway"}, lines[1:]...)...)
	body = strings.TrimSuffix(body, "\n")
	lower := strings.ToLower(head)
	if body != "" && !strings.Contains(lower, "content-length:") && !strings.Contains(lower, "transfer-encoding:") {
		lines = append(lines, "Content-Length: "+itoa(len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}
