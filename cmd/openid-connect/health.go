package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	timeout := flags.Duration("timeout", 2*time.Second, "how long the answer may take")
	if code, done := parseFlags(flags, healthUsage, args, s); done {
		return code
	}
	if flags.NArg() > 0 || *timeout <= 0 {
		return wrongUsage("health", errors.New("only -socket, and a -timeout above 0"), s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	host := pluginserver.NewHost(*socket)
	defer host.Close()
	// To close an instance that does not exist changes nothing, and every server answers it.
	if err := host.CloseInstance(ctx, noInstance); err != nil {
		fmt.Fprintf(s.err, "openid-connect health: no answer on %s: %v\n", *socket, err)
		return 1
	}
	fmt.Fprintf(s.out, "%s: served\n", *socket)
	return 0
}
