package examples_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// readYAML reads a file of people's into what fits it.
func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// Every openid-connect plugin in a kong.yml has a salt of its own: who copies the file should see
// that it is theirs to choose.
func TestSalt(t *testing.T) {
	files, err := filepath.Glob("*/kong.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../kong.yml") {
		var root any
		readYAML(t, file, &root)
		plugins := openidPlugins(root)
		if len(plugins) == 0 {
			t.Errorf("%s has no plugin", file)
		}
		for _, config := range plugins {
			if salt, _ := config["cache_tokens_salt"].(string); salt == "" {
				t.Errorf("%s: a plugin without cache_tokens_salt: %v", file, config)
			}
		}
	}
}

// openidPlugins returns the configurations of the plugin, wherever in the file they stand.
func openidPlugins(v any) (found []map[string]any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			found = append(found, openidPlugins(e)...)
		}
	case map[string]any:
		if config, ok := v["config"].(map[string]any); ok && v["name"] == "openid-connect" {
			return []map[string]any{config}
		}
		for _, e := range v {
			found = append(found, openidPlugins(e)...)
		}
	}
	return found
}

// What an engine would have to show, and none runs the tests: docker-compose.yml by its text.
func TestCompose(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Restart     string
			StopSignal  string `yaml:"stop_signal"`
			Healthcheck struct{ Test []string }
			DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		}
	}
	readYAML(t, "../docker-compose.yml", &file)

	server := file.Services["openid-connect"]
	if server.StopSignal != "SIGTERM" { // the base image has SIGQUIT
		t.Errorf("the server is stopped with %q", server.StopSignal)
	}
	socket := server.Command[slices.Index(server.Command, "-socket")+1]
	if want := []string{"CMD", "/usr/local/bin/openid-connect", "health", "-socket", socket}; !slices.Equal(server.Healthcheck.Test, want) {
		t.Errorf("the server's health check is %q, not %q", server.Healthcheck.Test, want)
	}

	// `docker compose up --wait` fails on a service that ends, unless another one waits for its
	// end.
	for name, service := range file.Services {
		waits := func(other string) bool {
			return file.Services[other].DependsOn[name].Condition == "service_completed_successfully"
		}
		if service.Restart == "no" && !slices.ContainsFunc(slices.Collect(maps.Keys(file.Services)), waits) {
			t.Errorf("nobody waits for the end of %s", name)
		}
	}
	if loader := file.Services["entities"]; !strings.HasPrefix(loader.Image, "kong/deck:") || loader.DependsOn["kong"].Condition != "service_healthy" {
		t.Errorf("kong.yml is loaded by %+v", loader)
	}
}

// `kong config` cannot load a file on Kong 3.9 where there is an external plugin: what names the
// command says so.
func TestNobodyRecommendsDBImport(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "*/*", "../*.yml", "../Dockerfile", "../Makefile"} {
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, matches...)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			if bytes.Contains(line, []byte("db_import")) && !bytes.Contains(line, []byte("cannot")) {
				t.Errorf("%s: %s", file, line)
			}
		}
	}
}
