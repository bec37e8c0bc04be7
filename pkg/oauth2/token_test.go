package oauth2

import (
	"bufio"
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodAnswer = `{"access_token":"at","token_type":"bearer","expires_in":60,"scope":"a b","refresh_token":"rt","id_token":"it"}`

// endpoint is a token endpoint that records its last request.
type endpoint struct {
	url   string
	calls atomic.Int32
	form  url.Values
	head  http.Header
	body  string
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		e.body, e.head = string(body), r.Header
		e.form, _ = url.ParseQuery(e.body)
		w.Header().Set("X-Request-Id", "7")
		_, _ = io.WriteString(w, goodAnswer)
	}))
	t.Cleanup(s.Close)
	e.url = s.URL + "/token"
	return e
}

func newClient(t *testing.T) *egress.Client {
	t.Helper()
	p := egress.NewPool(egress.Options{})
	t.Cleanup(p.Close)
	return p.Client(egress.Settings{VerifyTLS: true, Keepalive: true})
}

func grant() url.Values { return url.Values{"grant_type": {"client_credentials"}, "scope": {"a b&c"}} }

func TestRequestToken(t *testing.T) {
	e := newEndpoint(t)
	form := grant()
	r := Request{
		Now: testNow, Endpoint: e.url, Proof: Post{ID: "i&d", Secret: "s=é+ %"}, Form: form,
		Header: http.Header{"X-Extra": {"1"}, "Content-Type": {"text/plain"}},
	}
	got, err := RequestToken(t.Context(), newClient(t), r)
	if err != nil {
		t.Fatal(err)
	}
	want := &TokenResponse{
		AccessToken: "at", RefreshToken: "rt", IDToken: "it", TokenType: "bearer", ExpiresIn: Lifetime{true, 60},
		Header: got.Header, Body: []byte(goodAnswer),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got.Header.Get("X-Request-Id") != "7" {
		t.Error("the answer's header is lost")
	}
	wantForm := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b&c"}, "client_id": {"i&d"}, "client_secret": {"s=é+ %"}}
	if d := cmp.Diff(wantForm, e.form); d != "" {
		t.Error(d)
	}
	if len(form) != 2 || len(r.Header) != 2 || r.Header.Get("Content-Type") != "text/plain" {
		t.Error("the caller's form or header was changed")
	}
	for name, want := range map[string]string{"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", "X-Extra": "1", "Authorization": ""} {
		if got := e.head.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if e.head.Get("User-Agent") == "" || strings.HasPrefix(e.head.Get("User-Agent"), "Go-") {
		t.Error("User-Agent")
	}
}

// Row 31: the provider receives the exact bytes. Only an operator's own may be given encoded.
func TestBasic(t *testing.T) {
	tests := []struct {
		maybe                          bool // an operator's, who may have encoded them
		id, secret, wantID, wantSecret string
	}{
		{false, "service", "cf4c655a-0622-4ce6-a0de-d3353ef0b714", "service", "cf4c655a-0622-4ce6-a0de-d3353ef0b714"},
		{false, "a:b", "c:d", "a:b", "c:d"},
		{false, "i&d", "s=+ %/é", "i&d", "s=+ %/é"},
		{false, "id", "100%", "id", "100%"},
		{false, "id", "pass%2Fword", "id", "pass%2Fword"}, // G06
		{false, "i%64", "p%2Bq%3Dr", "i%64", "p%2Bq%3Dr"},
		{false, "id", "p%2bq~._-*", "id", "p%2bq~._-*"},
		{false, "\xff\xfe", "\x80", "\xff\xfe", "\x80"}, // bytes are bytes
		{false, "日本", "пароль", "日本", "пароль"},
		{false, `a\"<>b`, "'!()", `a\"<>b`, "'!()"},
		{true, "i&d", "s=+ %/é", "i&d", "s=+ %/é"},
		{true, "id", "a%zz", "id", "a%zz"},
		{true, "id", "a%2", "id", "a%2"},
		{true, "id", "p%2Bq%3Dr", "id", "p+q=r"},       // encoded already
		{true, "id", "p%2bq~._-*", "id", "p+q~._-*"},   // encoded already
		{true, "id", "%41%41%41", "id", "AAA"},         // encoded already
		{true, "id", "p%2Bq+r", "id", "p%2Bq+r"},       // a plus: not encoded
		{true, "id", "p%2Bq/r", "id", "p%2Bq/r"},       // a reserved character: not encoded
		{true, "urn:x%3A", "~-._", "urn:x%3A", "~-._"}, // likewise
	}
	e := newEndpoint(t)
	c := newClient(t)
	for _, tt := range tests {
		_, err := RequestToken(t.Context(), c, Request{Now: testNow, Endpoint: e.url, Form: grant(), Proof: Basic{ID: tt.id, Secret: Secret(tt.secret), MaybeEncoded: tt.maybe}})
		if err != nil {
			t.Fatal(err)
		}
		plain, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(e.head.Get("Authorization"), "Basic "))
		if err != nil {
			t.Fatal(err)
		}
		id, secret, _ := strings.Cut(string(plain), ":")
		id, err1 := url.QueryUnescape(id)
		secret, err2 := url.QueryUnescape(secret)
		if err1 != nil || err2 != nil || id != tt.wantID || secret != tt.wantSecret {
			t.Errorf("%q %q arrived as %q %q", tt.id, tt.secret, id, secret)
		}
		if e.form.Has("client_secret") || e.form.Has("client_id") {
			t.Error("credentials in the body too")
		}
	}
}

func TestForwardedAuthorization(t *testing.T) {
	e := newEndpoint(t)
	c := newClient(t)
	for _, v := range []Secret{"Basic c2VydmljZTpj", "basic  id:secret", "Basic \xe9"} {
		_, err := RequestToken(t.Context(), c, Request{
			Now: testNow, Endpoint: e.url, Form: grant(), Proof: Forwarded{Authorization: v},
			Header: http.Header{"Authorization": {"another"}},
		})
		if err != nil || len(e.head["Authorization"]) != 1 || e.head.Get("Authorization") != string(v) {
			t.Errorf("%v: sent %q", err, e.head["Authorization"])
		}
	}
}

// Row 32: nothing goes out.
func TestUnusableCredentials(t *testing.T) {
	e := newEndpoint(t)
	c := newClient(t)
	for _, a := range []Proof{
		Basic{ID: "id"},
		Post{ID: "id"},
		Assertion{ID: "id", Signer: HMAC{}},
		Basic{Secret: "canary"},
		Basic{ID: "a\r\nb", Secret: "canary"},
		Post{ID: "id", Secret: "canary\n"},
		Post{ID: "id\x7f", Secret: "canary"},
		Forwarded{Authorization: "Basic canary\r\nX: y"},
		Forwarded{},
		ForwardedAssertion{ID: "id"},
		ForwardedAssertion{ID: "id\n", Assertion: "canary"},
		Assertion{Signer: HMAC{Secret: "canary"}},
	} {
		_, err := RequestToken(t.Context(), c, Request{Now: testNow, Endpoint: e.url, Proof: a, Form: grant()})
		if !errors.Is(err, ErrCredentials) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: %v", a, err)
		}
	}
	_, err := RequestToken(t.Context(), c, Request{Now: testNow, Endpoint: e.url, Proof: Assertion{ID: "id", Signer: HMAC{Secret: "canary", Algorithm: "RS256"}}, Form: grant()})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if n := e.calls.Load(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestClientSecretJWT(t *testing.T) {
	for alg, size := range map[string]int{"": 32, "HS256": 32, "HS384": 48, "HS512": 64} {
		a := Assertion{ID: "id", Signer: HMAC{Secret: "secret", Algorithm: alg}}
		jwt, err := a.make("https://idp.test/token", testTime)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(jwt, ".")
		var header map[string]string
		var claims map[string]any
		decode(t, parts[0], &header)
		decode(t, parts[1], &claims)
		if header["typ"] != "JWT" || (alg != "" && header["alg"] != alg) || (alg == "" && header["alg"] != "HS256") {
			t.Errorf("header %v", header)
		}
		jti, _ := claims["jti"].(string)
		if len(jti) < 26 {
			t.Errorf("jti %q", jti)
		}
		delete(claims, "jti")
		now := float64(testTime.Unix())
		want := map[string]any{"iss": "id", "sub": "id", "aud": "https://idp.test/token", "iat": now, "exp": now + 60}
		if d := cmp.Diff(want, claims); d != "" {
			t.Error(d)
		}
		mac := hmac.New(macs[header["alg"]], []byte("secret"))
		mac.Write([]byte(parts[0] + "." + parts[1]))
		sig, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil || len(sig) != size || !hmac.Equal(sig, mac.Sum(nil)) {
			t.Errorf("%s: signature", alg)
		}
	}
	e := newEndpoint(t)
	c := newClient(t)
	seen := map[string]bool{}
	for range 2 {
		if _, err := RequestToken(t.Context(), c, Request{Now: testNow, Endpoint: e.url, Form: grant(), Proof: Assertion{ID: "id", Signer: HMAC{Secret: "secret"}}}); err != nil {
			t.Fatal(err)
		}
		jwt := e.form.Get("client_assertion")
		var claims struct{ Aud string }
		decode(t, strings.Split(jwt, ".")[1], &claims)
		if seen[jwt] || claims.Aud != e.url || e.form.Get("client_assertion_type") != AssertionType || e.form.Has("client_secret") {
			t.Errorf("form %v", e.form)
		}
		seen[jwt] = true
	}
}

func TestShortSecrets(t *testing.T) {
	for n, short := range map[int]bool{0: true, 31: true, 32: false, 64: false} {
		if h := (HMAC{Secret: Secret(strings.Repeat("s", n))}); h.Short() != short {
			t.Errorf("%d bytes: %t", n, h.Short())
		}
	}
}

// An assertion says the caller's time, which also is what dates are measured by.
func TestClock(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claims struct{ Iat int64 }
		decode(t, strings.Split(r.FormValue("client_assertion"), ".")[1], &claims)
		if claims.Iat != testTime.Unix() {
			t.Errorf("iat %d", claims.Iat)
		}
		w.Header().Set("Retry-After", testTime.Add(90*time.Second).Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer s.Close()
	_, err := RequestToken(t.Context(), newClient(t), Request{Endpoint: s.URL, Now: testNow, Form: grant(), Proof: Assertion{ID: "id", Signer: HMAC{Secret: "secret"}}})
	var no *Error
	if !errors.As(err, &no) || no.RetryAfter != 90*time.Second {
		t.Errorf("%v %+v", err, no)
	}
}

func TestForwardedAssertion(t *testing.T) {
	e := newEndpoint(t)
	c := newClient(t)
	for _, id := range []string{"", "id"} {
		_, err := RequestToken(t.Context(), c, Request{Endpoint: e.url, Now: testNow, Form: grant(), Proof: ForwardedAssertion{ID: id, Assertion: "a.b.c"}})
		if err != nil {
			t.Fatal(err)
		}
		if e.form.Get("client_assertion") != "a.b.c" || e.form.Get("client_assertion_type") != AssertionType || e.form.Has("client_id") != (id != "") || e.form.Get("client_id") != id {
			t.Errorf("form %v", e.form)
		}
	}
}

func decode(t *testing.T, segment string, to any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		t.Fatal(err)
	}
}

// A request that met a dead connection is made once more, with an assertion of its own; one
// that may spend something is not.
func TestStaleConnection(t *testing.T) {
	own := Assertion{ID: "id", Signer: HMAC{Secret: "secret"}}
	for _, tt := range []struct {
		grant    string
		proof    Proof
		repeated bool
	}{
		{"client_credentials", own, true},
		{"password", own, true},
		{"client_credentials", Basic{ID: "id", Secret: "secret"}, true},
		{"client_credentials", ForwardedAssertion{Assertion: "a.b.c"}, false},
		{"authorization_code", own, false},
		{"refresh_token", own, false},
		{"urn:ietf:params:oauth:grant-type:token-exchange", own, false},
	} {
		for _, death := range []string{"closed", "silent"} {
			t.Run(fmt.Sprintf("%s %T %s", tt.grant, tt.proof, death), func(t *testing.T) {
				t.Parallel()
				var requests atomic.Int32
				assertions := make(chan string, 8)
				addr := serveRaw(t, func(c net.Conn) {
					br := bufio.NewReader(c)
					for {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						_ = r.ParseForm()
						assertions <- r.Form.Get("client_assertion")
						if requests.Add(1) == 2 {
							if death == "silent" {
								_, _ = io.Copy(io.Discard, br)
							}
							return
						}
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(goodAnswer), goodAnswer)
					}
				})
				c := newClient(t)
				budget := 2 * time.Second
				if !tt.repeated {
					budget = 200 * time.Millisecond // the silence takes all of it
				}
				r := Request{Endpoint: "http://" + addr, Now: testNow, Form: url.Values{"grant_type": {tt.grant}}, Proof: tt.proof}
				if _, err := RequestToken(t.Context(), c, r); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				defer cancel()
				if _, err := RequestToken(ctx, c, r); (err == nil) != tt.repeated {
					t.Fatal(err)
				}
				want := int32(2)
				if tt.repeated {
					want = 3
				}
				if got := requests.Load(); got != want {
					t.Fatalf("%d requests, want %d", got, want) // each has put an assertion into the channel
				}
				seen := map[string]bool{}
				for range want {
					a := <-assertions
					if seen[a] && tt.proof == own {
						t.Error("an assertion was sent twice")
					}
					seen[a] = true
				}
			})
		}
	}
}

func serveRaw(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	conns := make(chan struct{}, 64)
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- struct{}{}
			go func() { defer func() { c.Close(); <-conns }(); f(c) }()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestNoAnswer(t *testing.T) {
	_, err := RequestToken(t.Context(), newClient(t), Request{Now: testNow, Endpoint: "http://127.0.0.1:1/?canary", Form: grant(), Proof: Post{ID: "id", Secret: "canary"}})
	if !errors.Is(err, egress.Unreachable) || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

// A secret that is a word of an error code takes nothing from the code, by which callers decide.
func TestCodesStayWhole(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"no such client"}`)
	}))
	defer s.Close()
	_, err := RequestToken(t.Context(), newClient(t), Request{
		Now: testNow, Endpoint: s.URL, Form: grant(), Proof: Post{ID: "id", Secret: "client"},
	})
	var no *Error
	if !errors.As(err, &no) || no.Code != "invalid_client" || no.Description != redacted {
		t.Error(err)
	}
}

// An endpoint that repeats all that it was sent, however it has it, tells a log nothing.
func TestErrorsDoNotRepeatSecrets(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		_, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		_, password, _ := (&http.Request{Header: r.Header}).BasicAuth()
		echo := []string{r.Header.Get("Authorization"), credentials, password, r.Header.Get("X-Key"), string(body)}
		for _, name := range slices.Sorted(maps.Keys(form)) {
			echo = append(echo, form[name]...)
		}
		for i, text := range echo { // one at a time: a description is cut
			if strconv.Itoa(i) == form.Get("scope") {
				w.WriteHeader(http.StatusUnauthorized)
				_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": text})
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer s.Close()
	for _, a := range []Proof{
		Post{ID: "id", Secret: "canary /canary"},
		Basic{ID: "id", Secret: "canary /canary"},
		Forwarded{Authorization: "Basic aWQ6Y2FuYXJ5LWNhbmFyeS1jYW5hcnk="},
		Assertion{ID: "id", Signer: HMAC{Secret: "canary-canary-canary-canary-canary"}},
		ForwardedAssertion{ID: "id", Assertion: "canary.assertion"},
	} {
		for part := range 20 {
			form := grant()
			form.Set("scope", strconv.Itoa(part))
			form.Set("x-argument", "canary argument")
			_, err := RequestToken(t.Context(), newClient(t), Request{
				Now: testNow, Endpoint: s.URL, Form: form, Proof: a, Header: http.Header{"X-Key": {"canary-key"}},
			})
			var no *Error
			if !errors.As(err, &no) {
				t.Fatal(err)
			}
			for _, canary := range []string{"canary", "aWQ6", "eyJ", "Y2FuYXJ5"} {
				if strings.Contains(err.Error(), canary) {
					t.Errorf("%T, part %d: %v", a, part, err)
				}
			}
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	const canary = "canary"
	values := []any{
		Secret(canary),
		[]Secret{canary},
		map[string]Secret{"a": canary},
		new(Secret(canary)),
		Basic{Secret: canary},
		Forwarded{Authorization: canary},
		&Post{Secret: canary},
		ForwardedAssertion{Assertion: canary},
		Assertion{Signer: HMAC{Secret: canary}},
		Request{Proof: Post{Secret: canary}, Form: url.Values{"a": {canary}}, Header: http.Header{"A": {canary}}},
		TokenResponse{AccessToken: canary, Body: []byte(canary), Header: http.Header{"A": {canary}}},
		&TokenResponse{Body: []byte(canary)},
	}
	for _, v := range values {
		for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			if out := fmt.Sprintf(f, v); strings.Contains(out, canary) || strings.Contains(strings.ToLower(out), "63616e617279") || strings.Contains(out, "99 97 110") {
				t.Errorf("%s of %T prints %s", f, v, out)
			}
		}
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		if strings.Contains(log.String(), canary) {
			t.Errorf("the log of %T has %s", v, log.String())
		}
	}
	if fmt.Sprintf("%v%q", Secret(""), Secret("")) != `""` {
		t.Error("an empty secret shall be told from a set one")
	}
	var s struct{ A Secret }
	if err := json.Unmarshal([]byte(`{"A":"x"}`), &s); err != nil || string(s.A) != "x" {
		t.Error(err)
	}
}

func TestNeedsOnlySecret(t *testing.T) {
	for m, want := range map[AuthMethod]bool{ClientSecretBasic: true, ClientSecretPost: true, ClientSecretJWT: true, PrivateKeyJWT: false, None: false, TLSClientAuth: false} {
		if m.NeedsOnlySecret() != want {
			t.Error(m)
		}
	}
}
