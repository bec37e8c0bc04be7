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

// teller plays the story and keeps what did not hold.
type teller struct {
	*world
	out      io.Writer
	client   *http.Client
	held     int
	failures []string
	step     string
	first    *answer // of part 3, for part 4
}

func newTeller(w *world, out io.Writer) *teller {
	return &teller{world: w, out: out, client: &http.Client{Transport: &http.Transport{}}}
}

// hangUp ends the teller's own connections.
func (t *teller) hangUp() { t.client.CloseIdleConnections() }

// expect notes one expectation of the story.
func (t *teller) expect(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if ok {
		t.held++
		fmt.Fprintln(t.out, "   ok     ", text)
		return
	}
	t.failures = append(t.failures, t.step+": "+text)
	fmt.Fprintln(t.out, "   FAILED ", text)
}

func (t *teller) title(format string, args ...any) {
	t.step = fmt.Sprintf(format, args...)
	fmt.Fprintf(t.out, "\n== %s\n", t.step)
}

// story is the acceptance test of the client credentials grant, in the order of the how-to.
func (t *teller) story(ctx context.Context) {
	for _, part := range []func(context.Context){t.setUp, t.patch, t.firstRequest, t.secondRequest, t.refusals} {
		if ctx.Err() != nil {
			return
		}
		part(ctx)
	}
}

// form is one command of the Admin API; fields keep their order, as httpie sends them.
func (t *teller) form(ctx context.Context, method, path string, fields ...string) map[string]any {
	var body, curl []string
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		body = append(body, url.QueryEscape(name)+"="+url.QueryEscape(value))
		curl = append(curl, "-d "+f)
	}
	fmt.Fprintf(t.out, "   $ http -f %s %s%s %s\n", strings.ToLower(method), short(t.adminURL), path, strings.Join(fields, " "))
	fmt.Fprintf(t.out, "   $ curl -X %s %s%s %s\n", method, t.adminURL, path, strings.Join(curl, " "))
	r := t.send(ctx, method, t.adminURL+path, http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, strings.Join(body, "&"))
	fmt.Fprintf(t.out, "   <- %d\n", r.status)
	t.expect(r.status == http.StatusOK, "200%s", r.unless(http.StatusOK))
	return r.json
}

func (t *teller) setUp(ctx context.Context) {
	t.title("1. Service, route and plugin")
	answer := t.form(ctx, http.MethodPut, "/services/openid-connect", "url=http://httpbin.org/anything")
	t.same(answer, "id", serviceID)
	answer = t.form(ctx, http.MethodPut, "/services/openid-connect/routes/openid-connect", "paths=/")
	t.same(answer, "id", routeID)
	answer = t.form(ctx, http.MethodPut, "/plugins/"+pluginID, "name=openid-connect", "service.name=openid-connect",
		"config.issuer="+issuer, "config.client_id=kong", "config.client_auth=private_key_jwt")
	t.same(answer, "id", pluginID)
	t.same(answer, "service.id", serviceID)
	t.same(answer, "config.client_id", []any{"kong"})
	t.same(answer, "config.client_auth", []any{"private_key_jwt"})
}

func (t *teller) patch(ctx context.Context) {
	t.title("2. Only this grant, credentials only from headers")
	answer := t.form(ctx, http.MethodPatch, "/plugins/"+pluginID, "config.auth_methods=client_credentials", "config.client_credentials_param_type=header")
	t.same(answer, "config.auth_methods", []any{"client_credentials"})
	t.same(answer, "config.client_credentials_param_type", []any{"header"})
	t.same(answer, "id", pluginID)
	t.same(answer, "name", "openid-connect")
	t.same(answer, "service.id", serviceID)
}

func (t *teller) firstRequest(ctx context.Context) {
	t.title("3. A request with the client's credentials")
	r := t.request(ctx, clientSecret)
	t.first = r
	t.expect(r.status == http.StatusOK, "200%s", r.unless(http.StatusOK))
	t.expect(strings.HasPrefix(r.authorization, "Bearer "), "the upstream has seen a bearer token, not the credentials")
	t.expect(r.reached == 1, "the upstream was called once")
	t.expect(r.tokenCalls == 1, "the provider's token endpoint was called once (%d)", r.tokenCalls)
	requests := t.idp.TokenRequests()
	if len(requests) == 0 {
		return
	}
	last := requests[len(requests)-1]
	t.expect(last.Header.Get("Authorization") == basic(clientSecret), "the provider has got the client's own credentials")
	t.expect(last.Form.Get("grant_type") == "client_credentials", "the grant is client_credentials")
}

func (t *teller) secondRequest(ctx context.Context) {
	t.title("4. The same request again")
	r := t.request(ctx, clientSecret)
	t.expect(r.status == http.StatusOK, "200%s", r.unless(http.StatusOK))
	t.expect(strings.HasPrefix(r.authorization, "Bearer ") && r.authorization == t.first.authorization, "the upstream has seen the same token")
	t.expect(r.calls == 0, "the provider was not called (%d)", r.calls)
	// One of these alone may meet a busy machine; the cache shows in the best of three.
	for range 2 {
		if again := t.send(ctx, http.MethodGet, t.proxyURL, http.Header{"Authorization": {basic(clientSecret)}}, ""); again.proxyLatency < r.proxyLatency {
			r.proxyLatency = again.proxyLatency
		}
	}
	t.expect(r.proxyLatency <= t.first.proxyLatency, "it adds less latency (%d ms, the first time %d ms)", r.proxyLatency, t.first.proxyLatency)
}

func (t *teller) refusals(ctx context.Context) {
	t.title("5. A wrong secret")
	r := t.request(ctx, "wrong")
	t.expect(r.status == http.StatusUnauthorized, "401%s", r.unless(http.StatusUnauthorized))
	t.expect(r.reached == 0, "the upstream was not called (%d)", r.reached)
	t.title("6. The wrong secret again")
	r = t.request(ctx, "wrong")
	t.expect(r.status == http.StatusUnauthorized, "401%s", r.unless(http.StatusUnauthorized))
	t.expect(r.calls == 0, "the provider was not asked again (%d)", r.calls)
	t.title("7. No credentials")
	r = t.request(ctx, "")
	t.expect(r.status == http.StatusUnauthorized, "401%s", r.unless(http.StatusUnauthorized))
	t.expect(r.reached == 0 && r.calls == 0, "neither the upstream nor the provider was called (%d, %d)", r.reached, r.calls)
}

// answer is what came back, and what happened meanwhile.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
	err    error

	authorization     string // as the upstream saw it
	total             time.Duration
	proxyLatency      int // milliseconds, as the gateway tells; -1 = it did not
	reached           int // requests at the upstream
	calls, tokenCalls int // at the provider
}

// unless tells what there was instead of a wanted status.
func (a *answer) unless(status int) string {
	switch {
	case a.err != nil:
		return ", but: " + a.err.Error()
	case a.status != status:
		return fmt.Sprintf(", but %d: %.300s", a.status, a.body)
	}
	return ""
}

// request is one through the proxy, with what the provider and the upstream saw of it.
func (t *teller) request(ctx context.Context, secret string) *answer {
	header := http.Header{}
	if secret == "" {
		fmt.Fprintf(t.out, "   $ http -v %s\n   $ curl -i %s\n", short(t.proxyURL), t.proxyURL)
	} else {
		header.Set("Authorization", basic(secret))
		fmt.Fprintf(t.out, "   $ http -v -a %s:%s %s\n   $ curl -i -u %s:%s %s\n", clientID, secret, short(t.proxyURL), clientID, secret, t.proxyURL)
	}
	upstream, calls, tokens := t.upstream.Load(), t.providerCalls(), t.idp.Calls(demoidp.TokenEndpoint)
	a := t.send(ctx, http.MethodGet, t.proxyURL, header, "")
	a.reached = int(t.upstream.Load() - upstream)
	a.calls, a.tokenCalls = t.providerCalls()-calls, t.idp.Calls(demoidp.TokenEndpoint)-tokens
	if a.reached > 0 {
		seen, _ := lookup(a.json, "headers.Authorization").([]any)
		if len(seen) == 1 {
			a.authorization, _ = seen[0].(string)
		}
	}
	fmt.Fprintf(t.out, "   <- %d in %.1f ms", a.status, float64(a.total.Microseconds())/1000)
	if a.proxyLatency >= 0 {
		fmt.Fprintf(t.out, " (X-Kong-Proxy-Latency: %d)", a.proxyLatency)
	}
	fmt.Fprintln(t.out)
	for _, challenge := range a.header.Values("WWW-Authenticate") {
		fmt.Fprintln(t.out, "      WWW-Authenticate:", challenge)
	}
	if a.reached > 0 {
		fmt.Fprintln(t.out, "      the upstream saw Authorization:", shortened(a.authorization))
	} else {
		fmt.Fprintf(t.out, "      the upstream saw nothing; the client got %.200s\n", strings.TrimSpace(a.body))
	}
	fmt.Fprintf(t.out, "      the provider was called %d times, %d of them at its token endpoint\n", a.calls, a.tokenCalls)
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
func (t *teller) same(answer map[string]any, path string, want any) {
	got := lookup(answer, path)
	raw, err := json.Marshal(got)
	if err != nil {
		raw = []byte("?")
	}
	t.expect(reflect.DeepEqual(got, want), "%s: %s", path, raw)
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

// short is an address as httpie takes it: ":8000".
func short(address string) string { return address[strings.LastIndex(address, ":"):] }

// shortened shows that there is a token and of what kind, never the whole.
func shortened(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if len(token) < 40 {
		return scheme + " …"
	}
	return fmt.Sprintf("%s %s… (%d characters)", scheme, token[:10], len(token))
}

// invite says what to try now.
func (t *teller) invite() {
	fmt.Fprintf(t.out, `
It stays up until Ctrl-C. To try, in another terminal:
   $ curl -i -u %[1]s:%[2]s %[3]s/anything
   $ http -v -a %[1]s:%[2]s %[4]s/anything
   $ curl -i -u %[1]s:wrong %[3]s
   $ curl -i -u short:%[2]s %[3]s          # its tokens live 5 seconds
   $ curl %[5]s/plugins/%[6]s
   $ curl -X PATCH %[5]s/plugins/%[6]s -d config.scopes_required=admin   # now 403
   $ curl -X PATCH %[5]s/plugins/%[6]s -d config.scopes_required=        # and back
   $ curl -X PATCH %[5]s/plugins/%[6]s -d config.timeout=soon            # refused
   $ curl http://%[7]s/auth/realms/master/.well-known/openid-configuration
What the gateway and the plugin log appears below.

`, clientID, clientSecret, t.proxyURL, short(t.proxyURL), t.adminURL, pluginID, t.idp.Addr())
}
