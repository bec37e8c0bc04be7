package config

import (
	"os"
	"testing"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

const docsHead = `<!-- Generated from the Go sources of plugin/config: go test ./plugin/config -run TestDocs -update -->

# Configuration

Every field of ` + "`config`" + `, in groups. Only ` + "`issuer`" + ` is required. A field without a default may be left out. *Referenceable*: the
value may be a reference to a vault, ` + "`{vault://…}`" + `. *Encrypted*: Kong can store the value encrypted. *Since*: the version of Kong that
added the field; all others are in 3.9. *Not built in this version*: the value has no effect yet, or is refused where it says so. What
differs from Kong's own plugin: [compatibility.md](compatibility.md).

` + "`openid-connect lint FILE`" + ` says what is wrong with a configuration without Kong.
`

// TestDocs keeps docs/config.md equal to what the declarations say.
func TestDocs(t *testing.T) {
	f, err := described()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := kongschema.ReadComments(sources)
	if err != nil {
		t.Fatal(err)
	}
	list, err := settingsOf(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		switch {
		case s.ignored:
			s.Remark = "no effect here"
		case len(s.unbuilt) == 0:
		case s.unbuilt[0] == unbuiltRefuse:
			s.Remark = "not built in this version: refused"
		default:
			s.Remark = "not built in this version"
		}
	}
	const file = "../../docs/config.md"
	want := docsHead + kongschema.Markdown(f, docs)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("docs/config.md is stale (%v): go test ./plugin/config -run TestDocs -update", err)
	}
}
