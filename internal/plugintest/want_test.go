package plugintest_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
)

// verdict is what an outcome letter of security.md §3 means in every row, as
// behaviour.md §4 amends it.
type verdict struct {
	status     int
	body       string
	challenges []string // with HOST for the realm
}

const (
	bearer      = `Bearer realm="HOST"`
	basicInvite = `Basic realm="HOST", charset="UTF-8"`
)

// verdicts: no token was sent, so that a 401 has no error, and Basic is invited.
var verdicts = map[string]verdict{
	"A": {status: 200, body: "upstream"},
	"U": {401, `{"message":"Unauthorized"}`, []string{bearer, basicInvite}},
	"B": {400, `{"message":"Bad request"}`, []string{bearer + `, error="invalid_request"`}},
	"F": {403, `{"message":"Forbidden"}`, []string{bearer + `, error="insufficient_scope"`}},
	"T": {503, `{"message":"Service Unavailable"}`, nil},
	"E": {500, `{"message":"An unexpected error occurred"}`, nil},
	"L": {status: 200}, // the login's tokens, in the upstream's place
}

// want is a want section: the outcome with its reason, then one check a line.
type want struct {
	letter, argument string
	checks           []check
	overridden       map[string]bool // general checks that a line of the section replaces
}

type check struct{ kind, text string }

func parseWant(t testing.TB, text string) want {
	w := want{overridden: map[string]bool{}}
	first, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	w.letter, w.argument, _ = strings.Cut(first, " ")
	for line := range strings.SplitSeq(rest, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		kind, text, _ := strings.Cut(line, " ")
		w.checks = append(w.checks, check{kind, text})
		w.overridden[kind] = true
		if kind == "upstream" && strings.HasPrefix(strings.ToLower(text), "authorization:") || kind == "absent" && strings.EqualFold(text, "authorization") {
			w.overridden["token"] = true
		}
	}
	if _, known := verdicts[w.letter]; !known && w.letter != "K" {
		t.Fatalf("no such outcome: %q", first)
	}
	return w
}

// check holds the answer against w and against what is true in every row.
func (p *player) check(w want) {
	p.Helper()
	after := p.count()
	for _, e := range endpoints {
		most := 1
		// The keys are fetched beside a token, and once more where they do not fit it. A fetch that
		// the case before did not wait for may still be counted here.
		if w.overridden["retry"] || e == demoidp.JWKSEndpoint {
			most = 2
		}
		if n := after.calls[e] - p.before.calls[e]; n > most {
			p.Errorf("one request made %d calls to %s", n, e)
		}
	}
	reached := 0
	if w.letter == "A" {
		reached = 1
	}
	if n := after.upstream - p.before.upstream; n != reached {
		p.Errorf("%d requests reached the upstream, want %d", n, reached)
	}
	if w.letter == "K" {
		p.gatewaysOwn(w)
	} else {
		p.verdict(w)
	}
	for _, c := range w.checks {
		p.line(c)
	}
	if p.Failed() {
		p.Fatalf("request %d, want %s %s: %d %v %s\n%s", p.requests, w.letter, w.argument,
			p.answer.Status, p.answer.Header, p.answer.Body, p.logLine())
	}
	if w.letter == "T" && w.argument == "idp_bad_token" {
		p.remembered(w)
	}
}

// gatewaysOwn: the gateway refused the request before the plugin saw it.
func (p *player) gatewaysOwn(w want) {
	p.Helper()
	if itoa(p.answer.Status) != w.argument {
		p.Errorf("status %d", p.answer.Status)
	}
	if p.answer.Header.Get(errorID) != "" {
		p.Error("the plugin has seen the request")
	}
}

const errorID = "X-Openid-Connect-Error-Id"

func (p *player) verdict(w want) {
	p.Helper()
	v := verdicts[w.letter]
	if p.answer.Status != v.status && !w.overridden["status"] {
		p.Errorf("status %d, want %d", p.answer.Status, v.status)
	}
	if p.answer.Body != v.body && !w.overridden["body"] && w.letter != "L" {
		p.Errorf("body %s, want %s", p.answer.Body, v.body)
	}
	challenges := v.challenges
	if w.overridden["challenge"] {
		challenges = nil
		for _, c := range w.checks {
			if c.kind == "challenge" && c.text != "none" {
				challenges = append(challenges, c.text)
			}
		}
	}
	realm := strings.NewReplacer("HOST", p.idp.Addr())
	for i, c := range challenges {
		challenges = slices.Clone(challenges)
		challenges[i] = realm.Replace(c)
	}
	if got := p.answer.Header.Get("WWW-Authenticate"); got != strings.Join(challenges, ", ") {
		p.Errorf("challenges %q, want %q", got, challenges)
	}
	switch w.letter {
	case "A":
		p.passed(w)
	case "L":
		p.header("answer", p.answer.Header, "Cache-Control: no-store")
		p.header("answer", p.answer.Header, "Content-Type: application/json; charset=utf-8")
	default:
		p.refused(w)
	}
}

// passed: the upstream has one bearer token, of the provider's making.
func (p *player) passed(w want) {
	p.Helper()
	if w.overridden["token"] {
		return
	}
	got := p.g.Upstream.Last(p).Header.Values("Authorization")
	if len(got) != 1 || !strings.HasPrefix(got[0], "Bearer ") || len(got[0]) < 20 {
		p.Errorf("the upstream saw Authorization %q", got)
		return
	}
	p.canaries = append(p.canaries, strings.TrimPrefix(got[0], "Bearer "))
	if p.minted != "" && got[0] != "Bearer "+p.minted {
		p.Error("the upstream saw another token than the provider's")
	}
}

// refused: the client learns nothing but the id, under which the log has the reason.
func (p *player) refused(w want) {
	p.Helper()
	if (p.answer.Header.Get("Retry-After") != "") != (w.letter == "T" && p.answer.Status != http.StatusFound) {
		p.Errorf("Retry-After %q", p.answer.Header.Get("Retry-After"))
	}
	line := p.logLine()
	if !strings.Contains(line, " reason="+w.argument+" ") {
		p.Errorf("log line %q, want reason=%s", line, w.argument)
	}
	level := "level=INFO"
	if w.letter == "T" || w.letter == "E" {
		level = "level=" // error, but at most once a second
	}
	if !strings.Contains(line, level) {
		p.Errorf("log line %q, want %s", line, level)
	}
	if strings.Contains(p.answer.Body, p.idp.Addr()) {
		p.Error("the body names the provider's address")
	}
	noSecrets(p, p.answer.Body, p.canaries)
}

// logLine is the line that has the answer's error id.
func (p *player) logLine() string {
	p.Helper()
	id := p.answer.Header.Get(errorID)
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
		p.Errorf("error id %q", id)
		return ""
	}
	return lineOf(p, p.g.Log, id)
}

func lineOf(t testing.TB, log *plugintest.Log, id string) string {
	t.Helper()
	found := ""
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "error_id="+id) {
			if found != "" {
				t.Errorf("error id %s stands in two lines", id)
			}
			found = line
		}
	}
	return found
}

// remembered: a token that does not verify is not fetched again for the next request.
func (p *player) remembered(w want) {
	p.Helper()
	p.send()
	p.verdict(w)
	if after := p.count(); after.calls[demoidp.TokenEndpoint] != p.before.calls[demoidp.TokenEndpoint] || after.upstream != p.before.upstream {
		p.Error("the bad token was fetched again, or went on")
	}
}

// noSecrets greps what is written for what must not be.
func noSecrets(t testing.TB, text string, canaries []string) {
	t.Helper()
	for _, canary := range canaries {
		if strings.Contains(text, canary) {
			t.Errorf("a secret is told: %q", canary)
		}
	}
}

// line makes the check of one line of a want section.
func (p *player) line(c check) {
	p.Helper()
	switch c.kind {
	case "calls":
		for _, pair := range strings.Fields(c.text) {
			name, number, _ := strings.Cut(pair, "=")
			if n, err := strconv.Atoi(number); err != nil || p.idp.Calls(demoidp.Endpoint(name)) != n {
				p.Errorf("%d calls to %s, want %s", p.idp.Calls(demoidp.Endpoint(name)), name, number)
			}
		}
	case "status":
		if itoa(p.answer.Status) != c.text {
			p.Errorf("status %d, want %s", p.answer.Status, c.text)
		}
	case "body":
		if !matches(p.answer.Body, c.text) {
			p.Errorf("body %s, want %s", p.answer.Body, c.text)
		}
	case "challenge", "retry": // verdict and check have looked
	case "header":
		p.header("answer", p.answer.Header, c.text)
	case "no-header":
		if got := p.answer.Header.Values(c.text); len(got) > 0 {
			p.Errorf("the answer has %s: %q", c.text, got)
		}
	case "not-sent":
		if got := p.tokenRequest().Header.Values(c.text); len(got) > 0 {
			p.Errorf("the token endpoint was sent %s: %q", c.text, got)
		}
	case "log":
		if line := p.logLine(); !strings.Contains(line, c.text) {
			p.Errorf("log line %q without %q", line, c.text)
		}
	case "log-once":
		if n := strings.Count(p.g.Log.String(), c.text); n != 1 {
			p.Errorf("%q stands %d times in the log\n%s", c.text, n, p.g.Log)
		}
	case "canary":
		p.canaries = append(p.canaries, c.text)
	case "upstream":
		p.header("upstream", p.g.Upstream.Last(p).Header, c.text)
	case "absent":
		p.absent(c.text)
	case "uri", "upstream-body":
		seen := p.g.Upstream.Last(p)
		if got := map[string]string{"uri": seen.URI, "upstream-body": seen.Body}[c.kind]; got != c.text {
			p.Errorf("%s %q, want %q", c.kind, got, c.text)
		}
	case "sent":
		p.header("token request", p.tokenRequest().Header, c.text)
	case "form":
		values, err := url.ParseQuery(c.text)
		if got := p.tokenRequest().Form; err != nil || got.Encode() != values.Encode() {
			p.Errorf("the token endpoint was sent %s", got.Encode())
		}
	default:
		p.Fatalf("no such check: %s", c.kind)
	}
}

func (p *player) tokenRequest() demoidp.TokenRequest {
	p.Helper()
	all := p.idp.TokenRequests()
	if len(all) == 0 {
		p.Fatal("the token endpoint was not asked")
	}
	return all[len(all)-1]
}

// header wants exactly one value; after a tilde stands a pattern for it.
func (p *player) header(of string, h http.Header, text string) {
	p.Helper()
	name, value, _ := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	if got := h.Values(name); len(got) != 1 || !matches(got[0], value) {
		p.Errorf("%s: %s %q, want %q", of, name, got, value)
	}
}

// matches: after a tilde stands a pattern.
func matches(got, want string) bool {
	if pattern, isPattern := strings.CutPrefix(want, "~"); isPattern {
		return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(got)
	}
	return got == want
}

// absent wants no header of the name upstream, in whatever spelling.
func (p *player) absent(name string) {
	p.Helper()
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	for got, values := range p.g.Upstream.Last(p).Header {
		if fold(got) == fold(name) {
			p.Errorf("the upstream saw %s: %q", got, values)
		}
	}
}
