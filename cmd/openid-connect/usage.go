package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/kong-openid-connect/openid-connect/plugin"
	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

const usage = `The openid-connect plugin server for Kong Gateway, and tools around it.

  openid-connect [flags]         serve the plugin to Kong on a Unix socket
  openid-connect -dump           print what Kong must know of the plugin, as JSON
  openid-connect lint FILE...    judge kong.yml files or a plugin's JSON, without Kong
  openid-connect verify [flags]  judge a token on standard input, offline
  openid-connect health [flags]  ask a running server whether it answers
  openid-connect version         print the version, the commit and the version of Go
  openid-connect help [COMMAND]  print this, or the help of a command

Flags of the server; behind each but -dump and -version stands the environment variable OPENID_CONNECT_<NAME>:
`

// commands are the subcommands, for a misspelt one.
var commands = []string{"lint", "verify", "health", "version", "help"}

// parseFlags is flags.Parse without a word of its own. For -h it prints help and the flags to
// stdout and returns flag.ErrHelp; any other error is for wrongUse.
func parseFlags(flags *flag.FlagSet, args []string, help string, stdout io.Writer) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	}
	return err
}

// wrongUse says in one sentence what is wrong with a call, and where its help is. It returns the
// exit code, 2.
func wrongUse(stderr io.Writer, command string, err error) int {
	fmt.Fprintf(stderr, "%s: %v\nRun \"%s -h\" for help.\n", command, err, command)
	return 2
}

// unknownCommand is the error for a word that is no subcommand.
func unknownCommand(word string) error {
	return fmt.Errorf("unknown command %q%s", word, meant(word, commands))
}

func meant(word string, words []string) string {
	if near := config.Nearest(word, words); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// version is what the program says of itself, in one line.
func version() string {
	commit, changed, goVersion := "", "", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = " with changes"
			}
		}
	}
	return fmt.Sprintf("openid-connect %s, commit %s%s, %s", plugin.Version, cmp.Or(commit, "unknown"), changed, goVersion)
}

// ofKubernetes are the variables that Kubernetes sets for a service whose name begins with
// openid-connect.
var ofKubernetes = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_.+)?)$`)

// unknownVariables says of each environment variable that looks like a setting and is none what it
// may mean. Values are not repeated: they may be secrets.
func unknownVariables(flags *flag.FlagSet, environment []string) []string {
	var known, warnings []string
	flags.VisitAll(func(f *flag.Flag) {
		if name := variable(f); name != "" {
			known = append(known, name)
		}
	})
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) || ofKubernetes.MatchString(name) || slices.Contains(known, name) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("unknown environment variable %.100s%s; known are %s",
			name, meant(name, known), strings.Join(known, ", ")))
	}
	return warnings
}
