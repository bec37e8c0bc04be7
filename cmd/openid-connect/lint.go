package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/plugin"
)

// maxLintFile bounds what lint reads, in bytes.
const maxLintFile = 16 << 20

const lintUsage = `usage: openid-connect lint FILE...

Judges files before they are deployed: kong.yml in Kong's or decK's format, or a plugin's JSON; - is standard
input. Says what Kong or the plugin would refuse, with file and line. Exit 0: nothing but warnings, 1: a problem, 2: wrong usage or an unreadable file.
`

// runLint prints what Kong, or the first request, would refuse in each file, a line each.
func runLint(args []string, s streams) int {
	flags := flag.NewFlagSet("lint", flag.ContinueOnError)
	if code, done := parseFlags(flags, lintUsage, args, s); done {
		return code
	}
	if flags.NArg() == 0 {
		return wrongUsage("lint", errors.New("name a file, or - for standard input"), s)
	}
	code := 0
	for _, name := range flags.Args() {
		code = max(code, lint(name, s))
	}
	return code
}

func lint(name string, s streams) int {
	raw, err := readLintFile(name, s.in)
	if err != nil {
		fmt.Fprintln(s.err, "openid-connect lint:", err)
		return 2
	}
	findings, err := plugin.Lint(raw)
	code := 0
	for _, f := range findings {
		kind := "error"
		if f.Warning {
			kind = "warning"
		} else {
			code = 1
		}
		fmt.Fprintln(s.out, place(name, f.Line)+": "+kind+": "+strings.TrimPrefix(f.Field+": "+f.Message, ": "))
	}
	switch {
	case err != nil:
		fmt.Fprintf(s.out, "%s: error: %v\n", name, err)
		code = 1
	case len(findings) == 0:
		fmt.Fprintf(s.out, "%s: ok\n", name)
	}
	return code
}

func place(name string, line int) string {
	if line == 0 {
		return name
	}
	return name + ":" + strconv.Itoa(line)
}

func readLintFile(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
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
	return raw, nil
}
