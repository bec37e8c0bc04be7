package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/kong-openid-connect/openid-connect/plugin"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

const lintUsage = `usage: openid-connect lint FILE...

Says what Kong, or the first request, would refuse: a line each, FILE:LINE: field: message. Warnings have the word
"warning" before the field. A FILE is a kong.yml (YAML or JSON), a plugin's JSON, or its config alone; - is standard
input. Each file is judged by itself.

Exit 0: nothing but warnings. 1: a problem, or no openid-connect plugin in any file. 2: wrong use, or a file that
cannot be opened or read, or has more than 16 MiB.
`

// maxLintFile bounds what lint reads of a file, in bytes.
const maxLintFile = 16 << 20

// runLint is the subcommand lint; args are those behind its name. It returns the exit code.
func runLint(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	const command = "openid-connect lint"
	flags := flag.NewFlagSet("lint", flag.ContinueOnError)
	err := parseFlags(flags, args, lintUsage, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return wrongUse(stderr, command, err)
	case flags.NArg() == 0:
		return wrongUse(stderr, command, errors.New("which file?"))
	}
	code, found, judged := 0, 0, 0
	for _, name := range flags.Args() {
		raw, err := readLintFile(name, stdin)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", command, err)
			code = 2
			continue
		}
		findings, err := plugin.Lint(raw)
		if err == nil {
			judged++
		}
		found += len(findings)
		for _, f := range findings {
			fmt.Fprintln(stdout, place(name, f)+f.String())
			if !f.Warning {
				code = max(code, 1)
			}
		}
	}
	switch {
	case code == 0 && judged == 0:
		fmt.Fprintf(stderr, "%s: no openid-connect plugin in what was read\n", command)
		return 1
	case code == 0 && found == 0:
		fmt.Fprintln(stdout, "ok")
	}
	return code
}

// place is the beginning of a finding's line.
func place(name string, f config.Finding) string {
	if name == "-" {
		name = "<standard input>"
	}
	if f.Line > 0 {
		name = fmt.Sprintf("%s:%d", name, f.Line)
	}
	if f.Warning {
		return name + ": warning: "
	}
	return name + ": "
}

func readLintFile(name string, stdin io.Reader) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		stdin = f
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, maxLintFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxLintFile {
		return nil, fmt.Errorf("%s is larger than 16 MiB", name)
	}
	return raw, nil
}
