// Command openid-connect is the plugin server that Kong loads, and the operator's
// tools around it: `verify` judges tokens, `lint` judges configurations, `health` asks a running
// server whether it answers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

func main() {
	fitMemory()
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

const (
	// memoryLimit is the soft limit where GOMEMLIMIT gives none: full caches take some 100 MiB.
	memoryLimit = 256 << 20
	// gcPercent lets a heap of a few MiB grow before it is collected: with Go's default of 100
	// it would be collected many times a second under load. memoryLimit holds in any case.
	gcPercent = 400
)

// fitMemory sets what the operator has not set, as where Kong starts the server.
func fitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// run is the command; its result is the exit code: 0 done, 1 failed, 2 wrong usage.
func run(args []string, std streams) int {
	for _, c := range commands() {
		if len(args) > 0 && args[0] == c.name {
			return c.run(args[1:], std)
		}
	}
	s, err := parseSettings(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return help(std)
	case err != nil:
		return wrongUsage("", err, std)
	case s.version:
		return runVersion(nil, std)
	case s.dump:
		return dump(s, std)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer stop()
	if err := serve(ctx, s, std.err, func() {}); err != nil {
		fmt.Fprintln(std.err, "openid-connect:", err)
		return 1
	}
	return 0
}

func dump(s *settings, std streams) int {
	out, err := plugin.Dump(s.socket)
	if err == nil {
		_, err = std.out.Write(out)
	}
	if err != nil {
		fmt.Fprintln(std.err, "openid-connect:", err)
		return 1
	}
	return 0
}

// serve runs the plugin server until ctx ends, then lets running requests finish.
// It calls listening once Kong can connect.
func serve(ctx context.Context, s *settings, stderr io.Writer, listening func()) error {
	// A log whose reader has gone (Kong's old worker, `| logger`) is no reason to end.
	signal.Ignore(syscall.SIGPIPE)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var file *logFile
	if s.logFile != "" {
		var err error
		if file, err = openLog(s.logFile); err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		stderr = file
	}
	lines := newLineLog(stderr)
	defer lines.Close()
	logger := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: s.logLevel}))

	roots, err := s.rootCAs()
	if err != nil {
		return err
	}
	for _, name := range s.unknown {
		logger.Warn("an environment variable that is not known: openid-connect -h lists the flags behind them", "name", name)
	}
	p := plugin.New(plugin.Options{
		RootCAs: roots, Resolve: s.resolve, Logger: logger,
		TokenCacheBytes: s.tokenCacheBytes, RefusalCacheBytes: s.refusalCacheBytes,
	})
	defer p.Close()

	var reloading sync.WaitGroup
	watching, stopWatching := context.WithCancel(ctx)
	defer reloading.Wait()
	defer stopWatching()
	r := &reloader{settings: s, log: file, logger: logger, setRoots: p.SetRootCAs}
	reloading.Go(func() { r.run(watching, hup) })

	listener, err := pluginserver.Listen(pluginserver.SocketOptions{Path: s.socket, Mode: s.socketMode, Group: s.socketGroup})
	switch dir := filepath.Dir(s.socket); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s does not exist: create it, or name another path with -socket", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot write in %s: the server's user needs write permission there (%w)", dir, err)
	case err != nil:
		return err
	}
	logger.Info("serving", "version", version(), "socket", s.socket, "memory_limit", debug.SetMemoryLimit(-1))
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
