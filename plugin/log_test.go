package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/internal/plugintest"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// logged is a plugin with a clock, its log and what it told Kong's log.
type logged struct {
	t     *testing.T
	host  *pluginserver.Host
	id    int32
	ahead atomic.Int64
	log   plugintest.Log
	kong  bytes.Buffer
	asked int
}

func startLogged(t *testing.T, config map[string]any) *logged {
	l := &logged{t: t}
	began := time.Now()
	logger := slog.New(slog.NewTextHandler(&l.log, nil))
	p := plugin.New(plugin.Options{Logger: logger, Now: func() time.Time { return began.Add(time.Duration(l.ahead.Load())) }})
	t.Cleanup(p.Close)
	l.host = pluginserver.NewHost(plugintest.Serve(t, p, nil))
	t.Cleanup(l.host.Close)
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if l.id, err = l.host.StartInstance(t.Context(), plugin.Name, raw); err != nil {
		t.Fatal(err)
	}
	return l
}

// refuse sends one request with these credentials, which is refused.
func (l *logged) refuse(authorization string) {
	l.t.Helper()
	kong := kongLog{request: newRequest(authorization, ""), l: l}
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	if err := l.host.HandleEvent(ctx, l.id, "access", kong); !errors.Is(err, pluginserver.ErrExited) {
		l.t.Fatal(err)
	}
}

// kongLog is Kong for one request, and its log.
type kongLog struct {
	*request
	l *logged
}

func (k kongLog) Call(method string, args []byte) ([]byte, error) {
	switch method {
	case "kong.log.err":
		items, err := pluginserver.DecodeList(args)
		k.l.kong.WriteString(strings.Join(items, "") + "\n")
		return nil, err
	case "kong.nginx.get_var":
		k.l.asked++
		return pluginserver.AppendString(nil, "request-1"), nil
	case "kong.client.get_forwarded_ip":
		return pluginserver.AppendString(nil, "192.0.2.7"), nil
	}
	return k.request.Call(method, args)
}

// TestErrorLines: what the operator must mend is told once a second, to both logs, however many
// lines about clients there are.
func TestErrorLines(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(endpoint.Close)
	l := startLogged(t, map[string]any{
		"issuer": endpoint.URL, "token_endpoint": endpoint.URL, "client_auth": []string{"client_secret_basic"},
		"auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"},
	})
	for range 150 {
		l.refuse("")
	}
	if n := l.asked; n != 100 {
		t.Errorf("asked Kong about %d requests of which 100 are logged", n)
	}
	for range 3 {
		l.refuse(basic("service", "secret"))
	}
	errorLines := func() int { return strings.Count(l.log.String(), "level=ERROR") }
	if n, kong := errorLines(), strings.Count(l.kong.String(), "\n"); n != 1 || kong != 1 {
		t.Errorf("%d error lines in our log and %d in Kong's, of 3 in one second behind a flood", n, kong)
	}
	l.ahead.Store(int64(time.Second))
	l.refuse(basic("service", "secret"))
	l.refuse("")
	if n, kong := errorLines(), strings.Count(l.kong.String(), "\n"); n != 2 || kong != 2 {
		t.Errorf("%d and %d error lines after another second", n, kong)
	}
	for _, want := range []string{"lines_dropped=52 dropped_since=", "request_id=request-1", "client=192.0.2.7", "status=401 reason=no_credentials"} {
		if !strings.Contains(l.log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
}

// TestKongsLogLine: a line in Kong's log names the plugin and has no control characters.
func TestKongsLogLine(t *testing.T) {
	l := startLogged(t, map[string]any{"issuer": "https://idp.example/\n[crit] forged\x1b[31m"})
	l.refuse("")
	line := strings.TrimSuffix(l.kong.String(), "\n")
	if !strings.HasPrefix(line, "openid-connect: ") || strings.ContainsAny(line, "\n\x1b") {
		t.Errorf("%q", line)
	}
}

// TestIssuerIsNamedWithoutItsUser: a pseudo issuer is compared only, and may hold a password that
// no log line shows.
func TestIssuerIsNamedWithoutItsUser(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"opaque","id_token":"x","expires_in":60}`)) // two warnings
	}))
	t.Cleanup(endpoint.Close)
	l := startLogged(t, map[string]any{
		"issuer": "https://user:canary@idp.example/realm", "using_pseudo_issuer": true, "jwks_endpoint": endpoint.URL,
		"token_endpoint": endpoint.URL, "auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"},
	})
	l.refuse("")
	kong := kongLog{request: newRequest(basic("service", "secret"), ""), l: l}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.host.HandleEvent(ctx, l.id, "access", kong); err != nil {
		t.Fatal(err)
	}
	if log := l.log.String(); strings.Contains(log, "canary") || strings.Count(log, "issuer=https://idp.example/realm") < 4 {
		t.Errorf("%s", log)
	}
}
