package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"

	"github.com/kong-openid-connect/openid-connect/internal/demoidp"
	"github.com/kong-openid-connect/openid-connect/internal/devgateway"
)

const (
	module       = "module github.com/kong-openid-connect/openid-connect"
	providerName = "keycloak.test:8080"
	issuer       = "http://keycloak.test:8080/auth/realms/master"
	upstreamName = "httpbin.org:80"
	startWithin  = 30 * time.Second
)

// world is all that runs: provider, upstream, plugin server and gateway.
type world struct {
	dir      string
	idp      *demoidp.Server
	gateway  *devgateway.Gateway
	servers  []*http.Server
	serving  sync.WaitGroup
	upstream atomic.Int64 // requests that reached it

	proxyURL, adminURL string
}

func newWorld(ctx context.Context, s settings, stdout io.Writer, logs *logTail) (_ *world, err error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "openid-connect-demo-"); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(logs, nil))

	if w.idp, err = startProvider(ctx, s.provider, logger); err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "provider       http://%s%s, known as %s\n", w.idp.Addr(), note(s.provider, w.idp.Addr()), issuer)

	upstream, err := w.serve("127.0.0.1:0", w.countUpstream(httpbin.New()), logger)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "upstream       http://%s, known as http://httpbin.org\n", upstream)

	plugin, err := w.buildPlugin(ctx, root, stdout, logs)
	if err != nil {
		return nil, err
	}
	file, err := os.ReadFile(filepath.Join(root, "kong.yml"))
	if err != nil {
		return nil, err
	}
	w.gateway, err = devgateway.New(devgateway.Options{
		Plugins: []devgateway.Plugin{plugin}, KongYML: file, Resolve: map[string]string{upstreamName: upstream}, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err = w.gateway.Ready(ready); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		name, wanted string
		handler      http.Handler
		url          *string
	}{
		{"gateway", s.proxy, w.gateway.ProxyHandler(), &w.proxyURL},
		{"its Admin API", s.admin, w.gateway.AdminHandler(), &w.adminURL},
	} {
		addr, err := w.serve(l.wanted, l.handler, logger)
		if err != nil {
			return nil, err
		}
		*l.url = "http://" + addr
		fmt.Fprintf(stdout, "%-14s http://%s%s\n", l.name, addr, note(l.wanted, addr))
	}
	return w, nil
}

// note says that a port is another one than was wanted.
func note(wanted, got string) string {
	if wanted == got || strings.HasSuffix(wanted, ":0") {
		return ""
	}
	return " (" + wanted + " is taken)"
}

func startProvider(ctx context.Context, addr string, logger *slog.Logger) (*demoidp.Server, error) {
	opts := demoidp.Options{Addr: addr, Issuer: issuer, Logger: logger}
	idp, err := demoidp.Start(ctx, opts)
	if errors.Is(err, syscall.EADDRINUSE) {
		opts.Addr = "127.0.0.1:0"
		idp, err = demoidp.Start(ctx, opts)
	}
	return idp, err
}

// buildPlugin builds the plugin server from this checkout, without C, and says how the gateway runs it.
func (w *world) buildPlugin(ctx context.Context, root string, stdout io.Writer, logs *logTail) (devgateway.Plugin, error) {
	binary := filepath.Join(w.dir, "openid-connect")
	fmt.Fprintln(stdout, "plugin server  built from", root)
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/openid-connect")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return devgateway.Plugin{}, fmt.Errorf("build the plugin server: %w\n%s", err, out)
	}
	socket := filepath.Join(w.dir, "openid-connect.socket")
	command := []string{
		binary, "-kong-prefix", w.dir, "-socket", socket, "-resolve", providerName + "=" + w.idp.Addr(),
	}
	dump := exec.CommandContext(ctx, binary, append([]string{"-dump"}, command[1:]...)...)
	out, err := dump.Output()
	if err != nil {
		return devgateway.Plugin{}, fmt.Errorf("ask the plugin for its schema: %w", err)
	}
	fmt.Fprintf(stdout, "its socket     %s\n", socket)
	return devgateway.Plugin{Dump: out, Socket: socket, Command: command, Output: logs}, nil
}

// serve listens on an address, or on a free port where it is taken, and serves until close.
func (w *world) serve(addr string, h http.Handler, logger *slog.Logger) (string, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10, // nginx's four buffers of 8 KiB
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	w.servers = append(w.servers, srv)
	w.serving.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("a server ended", "address", addr, "error", err)
		}
	})
	return l.Addr().String(), nil
}

func (w *world) countUpstream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.upstream.Add(1)
		next.ServeHTTP(rw, r)
	})
}

// close ends everything in the order of a request's way, and leaves nothing behind.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for i := len(w.servers) - 1; i >= 0; i-- {
		if w.servers[i].Shutdown(ctx) != nil {
			_ = w.servers[i].Close()
		}
	}
	w.serving.Wait()
	if w.gateway != nil {
		w.gateway.Close()
	}
	if w.idp != nil {
		w.idp.Close()
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir)
	}
}

// moduleRoot finds this checkout: above the working directory, or else where the sources were when this was compiled.
func moduleRoot() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		starts = append(starts, filepath.Dir(file))
	}
	for _, dir := range starts {
		for filepath.IsAbs(dir) {
			raw, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && bytes.HasPrefix(raw, []byte(module)) {
				return dir, nil
			}
			if parent := filepath.Dir(dir); parent != dir {
				dir = parent
				continue
			}
			break
		}
	}
	return "", errors.New("run it in a checkout of the plugin: its sources are built")
}

// logTail holds the last lines of the logs until somebody wants to see them; follow shows what comes from then on.
type logTail struct {
	mu    sync.Mutex // guards all below
	out   io.Writer
	lines []string
}

const keptLines = 60

func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		return l.out.Write(b)
	}
	l.lines = append(l.lines, strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")...)
	l.lines = l.lines[max(0, len(l.lines)-keptLines):]
	return len(b), nil
}

func (l *logTail) follow(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = out
}

func (l *logTail) dump(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) > 0 {
		fmt.Fprintln(out, "\nthe end of the logs:")
	}
	for _, line := range l.lines {
		fmt.Fprintln(out, "  "+strings.TrimSuffix(line, "\n"))
	}
}
