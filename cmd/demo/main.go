// Command demo shows the plugin at work on a machine with nothing but Go: an identity provider,
// an upstream, a development gateway and the real plugin server, built from this checkout, on the
// loopback. It plays the story of the client credentials grant through the gateway's Admin API and
// proxy, and then stays up for whoever wants to try the commands.
//
//	go run ./cmd/demo          plays and stays up; Ctrl-C ends it
//	go run ./cmd/demo -once    plays and ends: 0 if all that the story promises held, else 1
//
// It needs no C compiler and no container. Its provider and its gateway are not fit for production.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	// When the reader has gone (`| head -1`) a write must fail and not end the process: there is
	// something to clean up first.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		ctx = withParent(ctx)
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// withParent also ends ctx when the parent process has gone. A SIGTERM ends `go run` itself and is
// not passed on to what it runs.
func withParent(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(200 * time.Millisecond)
		}
		cancel()
	}()
	return ctx
}

// settings are the flags.
type settings struct {
	once, verbose          bool
	proxy, admin, provider string
	plugin                 string
}

// mistake is what the user can mend before anything starts: one sentence, exit code 2.
type mistake string

func (m mistake) Error() string { return string(m) }

// errNotHeld is the end of a story that has already told what did not hold.
var errNotHeld = errors.New("an expectation of the story did not hold")

// run is the command; its result is the exit code: 0 all held, 1 something did not, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, flags, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(flags, stdout)
		return 0
	}
	if err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		err = play(ctx, s, newScreen(stdout, s.verbose, cancel))
	}
	var m mistake
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil || errors.Is(err, errNotHeld): // the user ended it, or the story has said it
		return 1
	}
	fmt.Fprintln(stderr, "demo:", err)
	if errors.As(err, &m) {
		return 2
	}
	return 1
}

func parse(args []string) (settings, *flag.FlagSet, error) {
	var s settings
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // one sentence says what is wrong, not the whole help
	flags.BoolVar(&s.once, "once", false, "play the story and end")
	flags.BoolVar(&s.verbose, "v", false, "show the commands, each expectation and the logs")
	flags.StringVar(&s.proxy, "proxy", "127.0.0.1:8000", "`address` of the gateway's proxy")
	flags.StringVar(&s.admin, "admin", "127.0.0.1:8001", "`address` of the gateway's Admin API")
	flags.StringVar(&s.provider, "provider", "127.0.0.1:8080", "`address` of the identity provider")
	flags.StringVar(&s.plugin, "plugin", "", "`path` of a plugin server that is already built")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return s, flags, err
	case err != nil:
		return s, flags, mistake(err.Error() + " (-h lists the flags)")
	case flags.NArg() > 0:
		return s, flags, mistake(fmt.Sprintf("unknown argument %q (-h lists the flags)", flags.Arg(0)))
	}
	return s, flags, nil
}

func help(flags *flag.FlagSet, stdout io.Writer) {
	fmt.Fprint(stdout, `Usage: go run ./cmd/demo [flags]

Shows the plugin at work on this machine: starts an identity provider, an
upstream, a small gateway and the real plugin server, sends some requests and
says what happened. Then it stays up, so that you can try it; Ctrl-C ends it.
The provider and the gateway are not fit for production.

Flags:
`)
	flags.SetOutput(stdout)
	flags.PrintDefaults()
	fmt.Fprint(stdout, `
An address with port 0 takes any free port.

Exit code: 0 all went as expected, 1 something did not, 2 it could not start.
`)
}

// play starts the world, tells the story, and waits for the end.
func play(ctx context.Context, s settings, out *screen) error {
	logs := &logTail{}
	if s.verbose {
		logs.follow(out)
	}
	w, err := newWorld(ctx, s, out, logs)
	if err != nil {
		return err
	}
	defer w.close()
	t := newTeller(w, out)
	t.story(ctx)
	t.hangUp()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.summary()
	if t.failures > 0 {
		logs.dump(out)
	}
	t.verdict()
	if !s.once {
		t.invite()
		logs.follow(out)
		<-ctx.Done()
	}
	if t.failures > 0 {
		return errNotHeld
	}
	return nil
}
