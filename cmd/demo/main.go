// Command demo shows the plugin at work on a machine with nothing but Go: an identity provider, an upstream, a development gateway and the
// real plugin server, built from this checkout, on the loopback. It plays the story of the client credentials grant through the gateway's
// Admin API and proxy, and then stays up for whoever wants to try the commands.
//
//	go run ./cmd/demo          plays and stays up; Ctrl-C ends it
//	go run ./cmd/demo -once    plays and ends: 0 if all that the story promises held, else 1
//
// It needs no network, no C compiler and no container. It is a demonstration: the provider and the gateway are none for production.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout))
}

// settings are the flags.
type settings struct {
	once, verbose          bool
	proxy, admin, provider string
}

// run is the command; its result is the exit code: 0 all held, 1 something did not, 2 wrong usage.
func run(ctx context.Context, args []string, stdout io.Writer) int {
	var s settings
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stdout)
	flags.BoolVar(&s.once, "once", false, "play the story and end")
	flags.BoolVar(&s.verbose, "v", false, "show the logs while the story is played")
	flags.StringVar(&s.proxy, "proxy", "127.0.0.1:8000", "`address` of the gateway's proxy; a free port where it is taken")
	flags.StringVar(&s.admin, "admin", "127.0.0.1:8001", "`address` of the gateway's Admin API; a free port where it is taken")
	flags.StringVar(&s.provider, "provider", "127.0.0.1:8080", "`address` of the identity provider; a free port where it is taken")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stdout, "demo: unknown argument %q\n", flags.Arg(0))
		return 2
	}
	logs := &logTail{}
	if s.verbose {
		logs.follow(stdout)
	}
	code := play(ctx, s, stdout, logs)
	if code != 0 && ctx.Err() == nil {
		logs.dump(stdout)
	}
	return code
}

// play starts the world, tells the story, and waits for the end.
func play(ctx context.Context, s settings, stdout io.Writer, logs *logTail) int {
	w, err := newWorld(ctx, s, stdout, logs)
	if err != nil {
		fmt.Fprintln(stdout, "demo:", err)
		return 1
	}
	defer w.close()
	t := newTeller(w, stdout)
	t.story(ctx)
	t.hangUp()
	if ctx.Err() != nil {
		return 1
	}
	if n := len(t.failures); n > 0 {
		fmt.Fprintf(stdout, "\n%d expectation(s) of the story did not hold:\n", n)
		for _, f := range t.failures {
			fmt.Fprintln(stdout, "  -", f)
		}
	} else {
		fmt.Fprintf(stdout, "\nAll %d expectations of the story held.\n", t.held)
	}
	if !s.once {
		t.invite()
		logs.follow(stdout)
		<-ctx.Done()
		fmt.Fprintln(stdout, "\nending")
	}
	if len(t.failures) > 0 {
		return 1
	}
	return 0
}
