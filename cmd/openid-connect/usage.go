package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/kong-openid-connect/openid-connect/plugin"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command is a subcommand; its result is the exit code: 0 done, 1 failed, 2 wrong usage.
type command struct {
	name, does string
	run        func(args []string, s streams) int
}

// commands are listed by help in this order.
func commands() []command {
	return []command{
		{"lint", "judge a kong.yml or a plugin's JSON before it is deployed", runLint},
		{"verify", "judge a token offline, and say why it is refused", runVerify},
		{"health", "ask whether the server on the socket answers", runHealth},
		{"version", "print the version", runVersion},
		{"help", "print this text, or the help of a command", runHelp},
	}
}

const overview = `The openid-connect plugin for Kong Gateway OSS.

  openid-connect [flags]             serve the plugin to Kong on a Unix socket
  openid-connect -dump               print what Kong must know of the plugin
  openid-connect COMMAND [flags]     one of the commands below; COMMAND -h tells its flags

Commands:
`

func runHelp(args []string, s streams) int {
	if len(args) == 0 {
		return help(s)
	}
	for _, c := range commands() {
		if c.name == args[0] && c.name != "help" {
			return c.run([]string{"-h"}, s)
		}
	}
	return wrongUsage("", unknownCommand(args[0]), s)
}

func help(s streams) int {
	fmt.Fprint(s.out, overview)
	for _, c := range commands() {
		fmt.Fprintf(s.out, "  %-9s%s\n", c.name, c.does)
	}
	fmt.Fprint(s.out, "\nFlags of the server. Each except -dump and -version can also be set by an environment variable, OPENID_CONNECT_<NAME>:\n")
	flags := (&settings{}).flags()
	flags.SetOutput(s.out)
	flags.PrintDefaults()
	return 0
}

// unknownCommand says what was probably meant.
func unknownCommand(name string) error {
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return fmt.Errorf("the command comes first: openid-connect %s", name)
		}
		names = append(names, c.name)
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Errorf("unknown command %q, did you mean %s?", name, near)
	}
	return fmt.Errorf("unknown command %q", name)
}

// parseFlags reads the flags of a subcommand. Where it has already answered, with the help text
// that was asked for or with one sentence about a mistake, done is true and code is the exit code.
func parseFlags(flags *flag.FlagSet, usage string, args []string, s streams) (code int, done bool) {
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(s.out, usage)
		flags.SetOutput(s.out)
		flags.PrintDefaults()
		return 0, true
	case err != nil:
		return wrongUsage(flags.Name(), err, s), true
	}
	return 0, false
}

// wrongUsage is one sentence about a mistake, and where help is.
func wrongUsage(command string, err error, s streams) int {
	fmt.Fprintf(s.err, "openid-connect%s: %v\nTry: openid-connect%s -h\n", space(command), err, space(command))
	return 2
}

func space(command string) string {
	if command == "" {
		return ""
	}
	return " " + command
}

// runVersion prints one line: the version, the commit that was built and Go's version.
func runVersion(args []string, s streams) int {
	flags := flag.NewFlagSet("version", flag.ContinueOnError)
	if code, done := parseFlags(flags, "usage: openid-connect version\n", args, s); done {
		return code
	}
	if flags.NArg() > 0 {
		return wrongUsage("version", fmt.Errorf("unexpected argument %q", flags.Arg(0)), s)
	}
	fmt.Fprintln(s.out, version())
	return 0
}

func version() string {
	text := "openid-connect " + plugin.Version
	if info, ok := debug.ReadBuildInfo(); ok {
		revision, changed := "", ""
		for _, setting := range info.Settings {
			switch {
			case setting.Key == "vcs.revision":
				revision = setting.Value[:min(12, len(setting.Value))]
			case setting.Key == "vcs.modified" && setting.Value == "true":
				changed = ", changed"
			}
		}
		if revision != "" {
			text += " (commit " + revision + changed + ")"
		}
	}
	return text + " " + strings.TrimSpace(runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH)
}
