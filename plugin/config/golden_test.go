package config

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected outcomes in testdata and docs/config.md")

// runGolden runs the cases of a txtar file: each NAME.ext is followed by NAME.want, what run must
// return for it.
func runGolden(t *testing.T, file string, run func(t *testing.T, input []byte) string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		input, want := archive.Files[i], &archive.Files[i+1]
		name, _, _ := strings.Cut(input.Name, ".")
		if want.Name != name+".want" {
			t.Fatalf("%s is not followed by its outcome", input.Name)
		}
		t.Run(name, func(t *testing.T) {
			got := run(t, input.Data)
			if *update {
				want.Data = []byte(got)
			} else if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// lines is the readable form of problems.
func lines(problems []Problem) string {
	var out strings.Builder
	for _, p := range problems {
		if p.Warning {
			out.WriteString("warning: ")
		}
		out.WriteString(p.String() + "\n")
	}
	return out.String()
}
