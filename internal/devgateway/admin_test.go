package devgateway

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestAdmin plays the scripts of testdata: each file of an archive is one request and what its
// answer must hold.
//
//	PATCH /plugins/x form        method, path, how the body is sent: form, json, or a content type
//	config.timeout=              the body (a form has one argument a line)
//	=> 200
//	config.timeout = null        a member of the answer, as JSON
//	config.gone is absent
func TestAdmin(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			for _, f := range archive.Files {
				if msg := w.play(string(f.Data)); msg != "" {
					t.Errorf("%s: %s", f.Name, msg)
				}
			}
		})
	}
}

func (w *world) play(script string) string {
	w.t.Helper()
	request, want, ok := strings.Cut(script, "\n=> ")
	if !ok {
		return "no => line"
	}
	line, body, _ := strings.Cut(request, "\n")
	words := strings.Fields(line)
	contentType := ""
	if len(words) > 2 {
		switch words[2] {
		case "form":
			contentType = "application/x-www-form-urlencoded"
			body = strings.ReplaceAll(strings.TrimSpace(body), "\n", "&")
		case "json":
			contentType = "application/json"
		default:
			contentType = strings.Join(words[2:], " ")
		}
	}
	status, answer := w.call(words[0], words[1], contentType, body)
	lines := strings.Split(strings.TrimSpace(want), "\n")
	if fmt.Sprint(status) != lines[0] {
		return fmt.Sprintf("status %d, want %s: %s", status, lines[0], compact(w.t, answer))
	}
	for _, l := range lines[1:] {
		if path, ok := strings.CutSuffix(l, " is absent"); ok {
			if v, there := member(answer, path); there {
				return fmt.Sprintf("%s is %s", path, compact(w.t, v))
			}
			continue
		}
		path, value, ok := strings.Cut(l, " = ")
		if !ok {
			return "cannot read " + l
		}
		v, there := member(answer, path)
		if got := compact(w.t, v); !there || got != value {
			return fmt.Sprintf("%s is %s, want %s (there: %v)", path, got, value, there)
		}
	}
	return ""
}

// member follows a path such as data.0.config.issuer.
func member(v any, path string) (any, bool) {
	for step := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[step]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func TestStoryPatchAnswer(t *testing.T) {
	w := newWorld(t)
	status, got := w.call(http.MethodPatch, "/plugins/5f35b796-ced6-4c00-9b2a-90eef745f4f9", "application/x-www-form-urlencoded; charset=utf-8",
		"config.methods=c&config.scopes=profile")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, compact(t, got))
	}
	want := `{"issuer":"http://idp","keys":null,"labels":null,"methods":["c"],"redis":{"host":"127.0.0.1","port":6379},` +
		`"retries":null,"scopes":["profile"],"timeout":10000,"verify":true}`
	if c := compact(t, got["config"]); c != want {
		t.Errorf("config\n got %s\nwant %s", c, want)
	}
	if got["name"] != "probe" || foreignID(got, "service") != "5fa9e468-0007-4d7e-9aeb-49ca9edd6ccd" {
		t.Errorf("name %v, service %v", got["name"], got["service"])
	}
}

func TestDumpIsReadStrictly(t *testing.T) {
	for name, dump := range map[string]string{
		"no JSON":     `{`,
		"MessagePack": `{"Plugins":[]}`,
		"no plugin":   `{"Protocol":"ProtoBuf:1","Plugins":[]}`,
		"no config":   `{"Protocol":"ProtoBuf:1","Plugins":[{"Name":"x","Schema":{"name":"x","fields":[]}}]}`,
	} {
		if gw, err := New(Options{Plugins: []Plugin{{Dump: []byte(dump)}}}); err == nil {
			gw.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDeclarativeRefusals(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"version":      {"services: []", "_format_version"},
		"unknown kind": {"_format_version: \"3.0\"\nupstreams: []", "upstreams: unknown field"},
		"field":        {"_format_version: \"3.0\"\nservices: [{name: a, url: 'http://a', hots: b}]", "hots: unknown field"},
		"reference":    {"_format_version: \"3.0\"\nroutes: [{name: a, paths: [/], service: nobody}]", "foreign key unresolved"},
		"no YAML":      {"{", "declarative configuration"},
		"no list":      {"_format_version: \"3.0\"\nservices: {}", "expected an array"},
	} {
		gw, err := New(Options{KongYML: []byte(c.file)})
		if err == nil {
			gw.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a form says, it nests into what JSON can carry, and no argument makes it larger than it
// came.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"config.a=b&config.a=c", "a[]=1&a[]=2", "a[2]=x&a[1].k=y", "a[k][1]=v", "[5]=x", "a.=b&.a=b&a..b=c", "a[=1&a]=2", "%5B%5D=x", "a&b=&=c", "a[999999]=x", "a.b=1&a=2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		list, _ := parseArgs(form, maxFormArgs)
		args, err := nestArgs(list)
		if err != nil {
			return
		}
		if args == nil {
			t.Fatal("no table")
		}
		if n := len(compact(t, args)); n > 32*(len(form)+1) {
			t.Errorf("%d bytes became %d", len(form), n)
		}
	})
}
