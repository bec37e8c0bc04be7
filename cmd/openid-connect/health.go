package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const healthUsage = `usage: openid-connect health [-socket PATH] [-timeout DURATION]

Asks the plugin server on the socket whether it answers, in Kong's own protocol. Exit 0: it does, 1: it does not, 2: wrong usage.
The provider is not asked: a server whose provider is away still serves what it has.
`

// noInstance is an id that no server gives out.
const noInstance = 0

// runHealth is the subcommand health.
func runHealth(args []string, s streams) int {
	flags := flag.NewFlagSet("health", flag.ContinueOnError)
	defaults, err := parseSettings(nil) // the environment names the socket, as for the server
	if err != nil {
		return wrongUsage("health", err, s)
	}
	socket := flags.String("socket", defaults.socket, "`path` of the socket")
	timeout := flags.Duration("timeout", 2*time.Second, "how long the answer may take, with a unit: 2s, 500ms")
	if code, done := parseFlags(flags, healthUsage, args, s); done {
		return code
	}
	switch {
	case flags.NArg() > 0:
		return wrongUsage("health", fmt.Errorf("unexpected argument %q", flags.Arg(0)), s)
	case *timeout <= 0:
		return wrongUsage("health", errors.New("-timeout must be above 0"), s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	host := pluginserver.NewHost(*socket)
	defer host.Close()
	// To close an instance that does not exist changes nothing, and every server answers it.
	if err := host.CloseInstance(ctx, noInstance); err != nil {
		why := err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			why = "nothing came within " + timeout.String()
		} else if errors.Is(err, fs.ErrNotExist) {
			why = "no server is running there, or it uses another -socket"
		}
		fmt.Fprintf(s.err, "openid-connect health: no answer on %s: %s\n", *socket, why)
		return 1
	}
	fmt.Fprintf(s.out, "%s: the server answers\n", *socket)
	return 0
}
