package main

import (
	"fmt"
	"io"
	"os"

	"github.com/kong-openid-connect/openid-connect/plugin"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// maxLintFile bounds what lint reads, in bytes.
const maxLintFile = 16 << 20

// runLint prints what Kong, or the first request, would refuse in FILE, a line each;
// `-` is standard input. Its result is the exit code: 0 nothing but warnings, 1 a
// problem, 2 wrong usage.
func runLint(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		fmt.Fprintln(stderr, "usage: openid-connect lint FILE    (a kong.yml or a plugin's JSON; - for standard input)")
		return 2
	}
	problems, err := lintFile(args[0])
	if err != nil {
		fmt.Fprintln(stderr, "openid-connect lint:", err)
		return 1
	}
	code := 0
	for _, p := range problems {
		kind := "error"
		if p.Warning {
			kind = "warning"
		} else {
			code = 1
		}
		fmt.Fprintf(stdout, "%s: %s: %s\n", kind, p.Field, p.Message)
	}
	if len(problems) == 0 {
		fmt.Fprintln(stdout, "ok")
	}
	return code
}

func lintFile(name string) ([]config.Problem, error) {
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxLintFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxLintFile {
		return nil, fmt.Errorf("%s is larger than 16 MiB", name)
	}
	return plugin.Lint(raw)
}
