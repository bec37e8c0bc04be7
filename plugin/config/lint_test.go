package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	runGolden(t, "testdata/lint.txtar", func(_ *testing.T, input []byte) string { return verdict(Lint(input)) })
}

// verdict is the readable form of what Lint returns.
func verdict(findings []Finding, err error) string {
	var out strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&out, "%d: %s", f.Line, lines([]Problem{f.Problem}))
	}
	if err != nil {
		out.WriteString("error: " + err.Error() + "\n")
	}
	return out.String()
}

// TestLintIsBounded: aliases must not blow up.
func TestLintIsBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		n := string(rune('0' + i))
		m := string(rune('1' + i))
		bomb.WriteString("a" + m + ": &a" + m + " [" + strings.TrimSuffix(strings.Repeat("*a"+n+",", 10), ",") + "]\n")
	}
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	for name, file := range map[string]string{
		"aliases": bomb.String(), "cycle": "a: &a [*a]\nplugins: []\n", "depth": nested(maxYAMLDepth + 1),
	} {
		if got := verdict(Lint([]byte(file))); !strings.Contains(got, "too large or nested too deeply") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, err := yamlTree([]byte(nested(maxYAMLDepth))); err != nil {
		t.Errorf("just deep enough: %v", err)
	}
}

// TestDeprecated: Kong logs the message alone, so the plugin and the path stand in it as in those
// of its own plugins.
func TestDeprecated(t *testing.T) {
	for path, want := range map[string]string{
		"session_redis_host":                    "openid-connect: config.session_redis_host is deprecated, please use config.redis.host instead",
		"session_strategy":                      "openid-connect: config.session_strategy has no effect, please remove it",
		"cluster_cache_redis.cluster_addresses": "openid-connect: config.cluster_cache_redis.cluster_addresses is deprecated, please use config.cluster_cache_redis.cluster_nodes instead",
		"redis.timeout": "openid-connect: config.redis.timeout is deprecated, please use config.redis.connect_timeout and " +
			"config.redis.send_timeout and config.redis.read_timeout instead",
	} {
		if f := find(PluginSchema().Field("config"), path); f.Deprecation == nil || f.Deprecation.Message != want {
			t.Errorf("%s: %+v", path, f.Deprecation)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"issuer", "client_id", "client_auth", "scopes", "leeway", "keys"}
	for misspelt, want := range map[string]string{
		"isuer": "issuer", "isseur": "issuer", "issuers": "issuer", "clientid": "client_id", "cliant_ids": "client_id", "scope": "scopes",
		"keyz": "keys", "ky": "", "x": "", "": "", "client": "", "something_else": "",
	} {
		if got := Nearest(misspelt, words); got != want {
			t.Errorf("%q: got %q, want %q", misspelt, got, want)
		}
	}
}

func FuzzLint(f *testing.F) {
	for _, seed := range []string{
		"plugins:\n- name: openid-connect\n  config: {issuer: x}\n", `{"issuer":"https://a.example"}`, "a: &a [*a]", "<<: 1", "services: [{plugins: [1]}]",
		"_plugin_configs: {a: {issuer: x}}\nplugins: [{name: openid-connect, _config: a, config: {timeout: ${{ env \"DECK_T\" }}}}]", "a: 1\n---\nb: 2",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if first, again := verdict(Lint(file)), verdict(Lint(file)); first != again {
			t.Errorf("two verdicts on %q: %s, %s", file, first, again)
		}
	})
}
