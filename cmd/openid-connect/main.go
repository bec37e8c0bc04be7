// Command openid-connect is the plugin server that Kong loads, and the operator's
// tools around it: `verify` judges tokens, `lint` judges configurations.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" { // as where Kong starts the server
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// memoryLimit is the soft limit where GOMEMLIMIT gives none: full caches take some 150
// MiB.
const memoryLimit = 256 << 20

// run is the command; its result is the exit code: 0 done (help too), 1 failed, 2 wrong usage.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "verify":
			return runVerify(args[1:], stdin, stdout, stderr)
		case "lint":
			return runLint(args[1:], stdin, stdout, stderr)
		case "version":
			args = append([]string{"-version"}, args[1:]...)
		case "help": // of the server, or of the command that follows
			return run(append(args[1:len(args):len(args)], "-h"), stdin, stdout, stderr)
		}
	}
	s, err := parseSettings(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return wrongUse(stderr, "openid-connect", err)
	case s.version:
		fmt.Fprintln(stdout, version())
		return 0
	case s.dump:
		return dump(s, stdout, stderr)
	}
	for _, w := range s.warnings {
		fmt.Fprintln(stderr, "openid-connect: warning:", w)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, s, stderr, func() {}); err != nil {
		fmt.Fprintln(stderr, "openid-connect:", err)
		return 1
	}
	return 0
}

func dump(s *settings, stdout, stderr io.Writer) int {
	out, err := plugin.Dump(s.socket)
	if err == nil {
		_, err = stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(stderr, "openid-connect:", err)
		return 1
	}
	return 0
}

// serve runs the plugin server until ctx ends, then lets running requests finish.
// It calls listening once Kong can connect.
func serve(ctx context.Context, s *settings, stderr io.Writer, listening func()) error {
	// A log whose reader has gone (Kong's old worker, `| logger`) is no reason to end.
	signal.Ignore(syscall.SIGPIPE)
	out, closeLog, err := s.logOutput(stderr)
	if err != nil {
		return err
	}
	defer closeLog()
	lines := newLineLog(out)
	defer lines.Close()
	logger := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: s.logLevel}))

	roots, err := s.rootCAs()
	if err != nil {
		return err
	}
	p := plugin.New(plugin.Options{RootCAs: roots, Resolve: s.resolve, Logger: logger})
	defer p.Close()

	listener, err := pluginserver.Listen(pluginserver.SocketOptions{Path: s.socket, Mode: s.socketMode, Group: s.socketGroup})
	if err != nil {
		return err
	}
	logger.Info("serving", "version", plugin.Version, "socket", s.socket)
	listening()
	server := pluginserver.NewServer(pluginserver.Options{Plugin: p, Info: pluginserver.Info{Name: plugin.Name}, Logger: logger})
	err = server.Serve(ctx, listener)
	logger.Info("stopped", "socket", s.socket)
	return err
}

// defaultSocket is where Kong looks unless it is told otherwise.
func defaultSocket(kongPrefix string) string {
	return filepath.Join(kongPrefix, plugin.Name+".socket")
}
