package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
)

// What the story names.
const (
	serviceID    = "5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd"
	routeID      = "ac1e86bd-4bce-4544-9b30-746667aaa74a"
	pluginID     = "5f35b796-ced6-4c00-9b2a-90eef745f4f9"
	clientID     = "service"
	clientSecret = "cf4c655a-0622-4ce6-a0de-d3353ef0b714"

	maxAnswer = 1 << 20
	patience  = 30 * time.Second
)

// picture is what the story shows, for eyes.
const picture = `  client ─── id and secret ───▶ gateway ─── access token ───▶ upstream
             (Basic)               │           (Bearer)
                                   │ asks once for a token,
                                   ▼ then keeps it
                           identity provider
`

// teller plays the story and keeps what did not hold.
type teller struct {
	*world
	out      *screen
	client   *http.Client
	held     int
	failures int
	details  []string // of the step, shown below its line

	first, second, wrong *answer // for the summary
}

func newTeller(w *world, out *screen) *teller {
	return &teller{world: w, out: out, client: &http.Client{Transport: &http.Transport{}}}
}

// hangUp ends the teller's own connections.
func (t *teller) hangUp() { t.client.CloseIdleConnections() }

// detail notes what only -v shows.
func (t *teller) detail(format string, args ...any) {
	if t.out.verbose {
		t.details = append(t.details, fmt.Sprintf(format, args...))
	}
}

// expect notes one expectation of the story; got says what there was instead.
func (t *teller) expect(ok bool, want, got string, args ...any) {
	if ok {
		t.held++
		t.detail("%s %s", t.out.mark(true), want)
		return
	}
	t.failures++
	t.details = append(t.details, t.out.mark(false)+" expected: "+want+"; got: "+fmt.Sprintf(got, args...))
}

// story is the acceptance test of the client credentials grant, in the order of the how-to.
func (t *teller) story(ctx context.Context) {
	t.out.printf("\n%s\n", t.out.heading(fmt.Sprintf("%s   %-30s  %6s  %9s   %s", t.out.noMark(), "Step", "Status", "Time", "The upstream saw")))
	for i, step := range []struct {
		title string
		play  func(context.Context) *answer
	}{
		{"Add service, route and plugin", t.setUp},
		{"Use client credentials only", t.patch},
		{"Client sends its id and secret", t.firstRequest},
		{"Client sends them again", t.secondRequest},
		{"Client sends a wrong secret", t.wrongSecret},
		{"Client sends it again", t.wrongAgain},
		{"Client sends no credentials", t.noCredentials},
	} {
		t.details = nil
		failures := t.failures
		a := step.play(ctx)
		if ctx.Err() != nil {
			return
		}
		line := fmt.Sprintf("%s %d %-30s  %6s  %9s   %s", t.out.mark(t.failures == failures), i+1, step.title, a.code(), a.time(), a.saw)
		t.out.printf("%s\n", strings.TrimRight(line, " "))
		for _, d := range t.details {
			t.out.printf("    %s\n", d)
		}
	}
}

// form is one command of the Admin API; fields keep their order.
func (t *teller) form(ctx context.Context, method, path string, fields ...string) *answer {
	var body []string
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		body = append(body, url.QueryEscape(name)+"="+url.QueryEscape(value))
	}
	t.detail("$ curl -X %s %s%s -d %s", method, t.adminURL, path, strings.Join(fields, " -d "))
	r := t.send(ctx, method, t.adminURL+path, http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, strings.Join(body, "&"))
	t.status(r, http.StatusOK)
	return r
}

func (t *teller) setUp(ctx context.Context) *answer {
	service := t.form(ctx, http.MethodPut, "/services/openid-connect", "url=http://httpbin.org/anything")
	t.same(service, "id", serviceID)
	route := t.form(ctx, http.MethodPut, "/services/openid-connect/routes/openid-connect", "paths=/")
	t.same(route, "id", routeID)
	plugin := t.form(ctx, http.MethodPut, "/plugins/"+pluginID, "name=openid-connect", "service.name=openid-connect",
		"config.issuer="+issuer, "config.client_id=kong", "config.client_auth=private_key_jwt")
	t.same(plugin, "id", pluginID)
	t.same(plugin, "service.id", serviceID)
	t.same(plugin, "config.client_id", []any{"kong"})
	t.same(plugin, "config.client_auth", []any{"private_key_jwt"})
	plugin.total += service.total + route.total
	return plugin
}

func (t *teller) patch(ctx context.Context) *answer {
	plugin := t.form(ctx, http.MethodPatch, "/plugins/"+pluginID, "config.auth_methods=client_credentials", "config.client_credentials_param_type=header")
	t.same(plugin, "config.auth_methods", []any{"client_credentials"})
	t.same(plugin, "config.client_credentials_param_type", []any{"header"})
	t.same(plugin, "id", pluginID)
	t.same(plugin, "name", "openid-connect")
	t.same(plugin, "service.id", serviceID)
	return plugin
}

func (t *teller) firstRequest(ctx context.Context) *answer {
	r := t.request(ctx, clientSecret)
	t.first = r
	t.status(r, http.StatusOK)
	t.expect(strings.HasPrefix(r.authorization, "Bearer "), "the upstream sees a bearer token, not the credentials", "%s", r.saw)
	t.expect(r.reached == 1, "the upstream is called once", "%d calls", r.reached)
	t.expect(r.tokenCalls == 1, "the provider's token endpoint is called once", "%d calls", r.tokenCalls)
	requests := t.idp.TokenRequests()
	if len(requests) == 0 {
		return r
	}
	last := requests[len(requests)-1]
	t.expect(last.Header.Get("Authorization") == basic(clientSecret), "the provider gets the client's own credentials", "others")
	grant := last.Form.Get("grant_type")
	t.expect(grant == "client_credentials", "the grant is client_credentials", "%q", grant)
	return r
}

func (t *teller) secondRequest(ctx context.Context) *answer {
	r := t.request(ctx, clientSecret)
	t.second = r
	t.status(r, http.StatusOK)
	same := strings.HasPrefix(r.authorization, "Bearer ") && r.authorization == t.first.authorization
	t.expect(same, "the upstream sees the same token", "%s", r.saw)
	if same {
		r.saw = "the same token"
	}
	t.expect(r.calls == 0, "the provider is not called", "%d calls", r.calls)
	// One of these alone may meet a busy machine; the cache shows in the best of three.
	best := r.proxyLatency
	for range 2 {
		again := t.send(ctx, http.MethodGet, t.proxyURL, http.Header{"Authorization": {basic(clientSecret)}}, "")
		best = min(best, again.proxyLatency)
	}
	t.expect(best >= 0 && best <= t.first.proxyLatency, "it adds less latency than the first", "%d ms, the first %d ms", best, t.first.proxyLatency)
	return r
}

func (t *teller) wrongSecret(ctx context.Context) *answer {
	r := t.request(ctx, "wrong")
	t.wrong = r
	t.status(r, http.StatusUnauthorized)
	t.expect(r.reached == 0, "the upstream is not called", "%d calls", r.reached)
	return r
}

func (t *teller) wrongAgain(ctx context.Context) *answer {
	r := t.request(ctx, "wrong")
	t.status(r, http.StatusUnauthorized)
	t.expect(r.calls == 0, "the provider is not asked again", "%d calls", r.calls)
	return r
}

func (t *teller) noCredentials(ctx context.Context) *answer {
	r := t.request(ctx, "")
	t.status(r, http.StatusUnauthorized)
	t.expect(r.reached == 0 && r.calls == 0, "neither the upstream nor the provider is called", "%d and %d calls", r.reached, r.calls)
	return r
}

// answer is what came back, and what happened meanwhile.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
	err    error

	authorization     string // as the upstream saw it
	saw               string // the same for people; "" = nobody was meant to see anything
	total             time.Duration
	proxyLatency      int // milliseconds, as the gateway tells; -1 = it did not
	reached           int // requests at the upstream
	calls, tokenCalls int // at the provider
}

// code is the status for people.
func (a *answer) code() string {
	if a.status == 0 {
		return "none"
	}
	return strconv.Itoa(a.status)
}

func (a *answer) time() string { return fmt.Sprintf("%.1f ms", float64(a.total.Microseconds())/1000) }

// status expects one of an answer.
func (t *teller) status(a *answer, want int) {
	got := fmt.Sprintf("%d: %.300s", a.status, strings.TrimSpace(a.body))
	if a.err != nil {
		got = a.err.Error()
	}
	t.expect(a.err == nil && a.status == want, fmt.Sprintf("the status is %d", want), "%s", got)
}

// request is one through the proxy, with what the provider and the upstream saw of it.
func (t *teller) request(ctx context.Context, secret string) *answer {
	header := http.Header{}
	if secret == "" {
		t.detail("$ curl -i %s", t.proxyURL)
	} else {
		header.Set("Authorization", basic(secret))
		t.detail("$ curl -i -u %s:%s %s", clientID, secret, t.proxyURL)
	}
	upstream, calls, tokens := t.upstream.Load(), t.providerCalls(), t.idp.Calls(demoidp.TokenEndpoint)
	a := t.send(ctx, http.MethodGet, t.proxyURL, header, "")
	a.reached = int(t.upstream.Load() - upstream)
	a.calls, a.tokenCalls = t.providerCalls()-calls, t.idp.Calls(demoidp.TokenEndpoint)-tokens
	a.saw = "nothing"
	if a.reached > 0 {
		seen, _ := lookup(a.json, "headers.Authorization").([]any)
		if len(seen) == 1 {
			a.authorization, _ = seen[0].(string)
		}
		a.saw = shortened(a.authorization)
	}
	if a.proxyLatency >= 0 {
		t.detail("X-Kong-Proxy-Latency: %d", a.proxyLatency)
	}
	for _, challenge := range a.header.Values("WWW-Authenticate") {
		t.detail("WWW-Authenticate: %s", challenge)
	}
	t.detail("calls to the provider: %d, of them to its token endpoint: %d", a.calls, a.tokenCalls)
	return a
}

func (t *teller) providerCalls() int {
	return t.idp.Calls(demoidp.DiscoveryEndpoint) + t.idp.Calls(demoidp.JWKSEndpoint) + t.idp.Calls(demoidp.TokenEndpoint) +
		t.idp.Calls(demoidp.OtherEndpoint)
}

func (t *teller) send(ctx context.Context, method, target string, header http.Header, body string) *answer {
	a := &answer{proxyLatency: -1, header: http.Header{}}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		a.err = err
		return a
	}
	r.Header = header
	begin := time.Now()
	res, err := t.client.Do(r)
	if err != nil {
		a.err = err
		return a
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	a.total, a.status, a.header, a.body, a.err = time.Since(begin), res.StatusCode, res.Header, string(raw), err
	if err := json.Unmarshal(raw, &a.json); err != nil {
		a.json = nil // an answer that is no JSON has no members to look at
	}
	if _, err := fmt.Sscan(res.Header.Get("X-Kong-Proxy-Latency"), &a.proxyLatency); err != nil {
		a.proxyLatency = -1
	}
	return a
}

// same expects a member of an answer.
func (t *teller) same(a *answer, path string, want any) {
	got := lookup(a.json, path)
	t.expect(reflect.DeepEqual(got, want), fmt.Sprintf("%s is %v", path, want), "%v", got)
}

func lookup(v any, path string) any {
	for step := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[step]
	}
	return v
}

// basic is the Authorization header of the story's client with a secret.
func basic(secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+secret))
}

// shortened shows that there is a token and of what kind, never the whole.
func shortened(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	switch {
	case scheme == "":
		return "no Authorization"
	case len(token) < 40:
		return scheme + " …"
	}
	return fmt.Sprintf("%s %s…", scheme, token[:10])
}

// summary shows the point of it all.
func (t *teller) summary() {
	answers := []*answer{t.first, t.second, t.wrong}
	rows := [][]string{{"", "First request", "Second request", "Wrong secret"}, {"Status"}, {"Time"}, {"Calls to the provider"}}
	for _, a := range answers {
		rows[1] = append(rows[1], a.code())
		rows[2] = append(rows[2], a.time())
		rows[3] = append(rows[3], strconv.Itoa(a.calls))
	}
	t.out.printf("\n")
	t.out.table(rows)
	t.out.printf("\n  The first request reads the provider's settings and keys, and gets a token.\n" +
		"  The second one uses that token again.\n")
}

// verdict is the last line of a story that ends.
func (t *teller) verdict() {
	if t.failures == 0 {
		t.out.printf("\n%s All %d expectations of the story held.\n", t.out.mark(true), t.held)
		return
	}
	t.out.printf("\n%s %d of %d expectations of the story held.\n", t.out.mark(false), t.held, t.held+t.failures)
}

// invite says what to try now.
func (t *teller) invite() {
	t.out.printf(`
The demo stays up until you press Ctrl-C. Try these in another terminal:

The request again; the upstream answers with the headers that it saw:
  curl -i -u %[1]s:%[2]s %[3]s
A wrong secret, 401:
  curl -i -u %[1]s:wrong %[3]s
Ask for a scope that the token does not have; the first request now gets 403:
  plugin=%[4]s/plugins/%[5]s
  curl -X PATCH $plugin -d config.scopes_required=admin
Take it back; a configuration that cannot work is refused with 400:
  curl -X PATCH $plugin -d config.scopes_required=
  curl -X PATCH $plugin -d config.timeout=soon
What the provider says about itself:
  curl http://%[6]s/auth/realms/master/.well-known/openid-configuration

The logs of the gateway and the plugin follow.
`, clientID, clientSecret, t.proxyURL, t.adminURL, pluginID, t.idp.Addr())
}
