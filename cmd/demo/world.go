package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	endWithin    = 5 * time.Second
)

// world is all that runs: provider, upstream, plugin server and gateway.
type world struct {
	folder   *folder
	idp      *demoidp.Server
	gateway  *devgateway.Gateway
	logger   *slog.Logger
	servers  []*http.Server
	listened []net.Listener
	serving  sync.WaitGroup
	upstream atomic.Int64 // requests that reached it

	proxyURL, adminURL string
}

// newWorld starts everything. What can be wrong with the flags or the environment is a mistake, and
// is found before the first slow step.
func newWorld(ctx context.Context, s settings, out *screen, logs *logTail) (_ *world, err error) {
	w := &world{logger: slog.New(slog.NewTextHandler(logs, nil))}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	if s.plugin == "" {
		if err := findGo(ctx, root); err != nil {
			return nil, err
		}
	}
	proxy, err := w.listen("proxy", s.proxy)
	if err != nil {
		return nil, err
	}
	admin, err := w.listen("admin", s.admin)
	if err != nil {
		return nil, err
	}
	w.idp, err = demoidp.Start(ctx, demoidp.Options{Addr: s.provider, Issuer: issuer, Logger: w.logger})
	if err != nil {
		return nil, listenMistake("provider", s.provider, err)
	}
	if w.folder, err = newFolder(); err != nil {
		return nil, err
	}

	out.printf("%s\n\n%s\n", out.heading("OpenID Connect for Kong: a demo. Everything runs on this machine."), picture)
	began := time.Now()
	if s.plugin == "" {
		out.printf("Building the plugin. The first build takes a minute or two.\n")
		s.plugin = filepath.Join(w.folder.path, "openid-connect")
		if err := build(ctx, root, s.plugin); err != nil {
			return nil, err
		}
		out.printf("%s The plugin is built (%.1f s)\n", out.mark(true), time.Since(began).Seconds())
	}
	upstream, err := w.listen("", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.serve(upstream, w.countUpstream(httpbin.New()))
	if err := w.startGateway(ctx, root, s.plugin, upstream.Addr().String(), logs); err != nil {
		logs.dump(out)
		return nil, err
	}
	w.proxyURL = w.serve(proxy, w.gateway.ProxyHandler())
	w.adminURL = w.serve(admin, w.gateway.AdminHandler())
	out.printf("%s Provider, upstream, gateway and plugin are running\n", out.mark(true))
	if s.verbose {
		out.printf("    gateway      %s\n    Admin API    %s\n    provider     http://%s, for the plugin %s\n"+
			"    upstream     http://%s, for the gateway http://%s\n    plugin       in %s\n",
			w.proxyURL, w.adminURL, w.idp.Addr(), providerName, upstream.Addr(), upstreamName, w.folder.path)
	}
	return w, nil
}

// findGo says at once when `go build` could not work.
func findGo(ctx context.Context, root string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return mistake("there is no go command in PATH, and the demo builds the plugin: install Go, or add it to PATH")
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOCACHE", "GOMODCACHE")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	switch dirs := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); {
	case err != nil:
		return mistake(fmt.Sprintf("`go env` fails (%v): %s", err, strings.Join(strings.Fields(string(out)), " ")))
	case slices.Contains(dirs, "") || slices.Contains(dirs, "off"):
		return mistake("the go command has no place for its caches: set HOME to your home directory")
	}
	return nil
}

// build builds the plugin server from this checkout, without C.
func build(ctx context.Context, root, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/openid-connect")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	// Not killed: it has temporary files of its own to remove.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = endWithin
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the plugin: %w\n%s", err, out)
	}
	return nil
}

// startGateway asks the plugin for its schema, has the gateway start it, and waits until it serves.
func (w *world) startGateway(ctx context.Context, root, plugin, upstream string, logs *logTail) error {
	file, err := os.ReadFile(filepath.Join(root, "kong.yml"))
	if err != nil {
		return err
	}
	socket := filepath.Join(w.folder.path, socketName)
	args := []string{"-kong-prefix", w.folder.path, "-socket", socket, "-resolve", providerName + "=" + w.idp.Addr()}
	dump, err := exec.CommandContext(ctx, plugin, append([]string{"-dump"}, args...)...).Output()
	if err != nil {
		return fmt.Errorf("ask the plugin for its schema: %w", err)
	}
	w.gateway, err = devgateway.New(devgateway.Options{
		Plugins: []devgateway.Plugin{{Dump: dump, Socket: socket, Command: append([]string{plugin}, args...), Output: logs}},
		KongYML: file, Resolve: map[string]string{upstreamName: upstream}, Logger: w.logger,
	})
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return w.gateway.Ready(ready)
}

// listen takes an address; connections wait until it is served.
func (w *world) listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenMistake(flag, addr, err)
	}
	w.listened = append(w.listened, l)
	return l, nil
}

// listenMistake says which flag helps.
func listenMistake(flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return mistake(fmt.Sprintf("another program uses %s: choose another address with -%s, "+
			"or take free ports with -proxy 127.0.0.1:0 -admin 127.0.0.1:0 -provider 127.0.0.1:0", addr, flag))
	}
	return mistake(fmt.Sprintf("cannot use -%s %s: %v", flag, addr, err))
}

// serve serves until close. It returns the URL.
func (w *world) serve(l net.Listener, h http.Handler) string {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10, // nginx's four buffers of 8 KiB
		ErrorLog: slog.NewLogLogger(w.logger.Handler(), slog.LevelWarn),
	}
	w.servers = append(w.servers, srv)
	w.serving.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			w.logger.Error("a server ended", "address", l.Addr(), "error", err)
		}
	})
	return "http://" + l.Addr().String()
}

func (w *world) countUpstream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.upstream.Add(1)
		next.ServeHTTP(rw, r)
	})
}

// close ends everything in the order of a request's way, and leaves nothing behind.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	for _, srv := range slices.Backward(w.servers) {
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	}
	for _, l := range w.listened {
		_ = l.Close() // those that were served are closed already
	}
	w.serving.Wait()
	if w.gateway != nil {
		w.gateway.Close()
	}
	if w.idp != nil {
		w.idp.Close()
	}
	if w.folder != nil {
		w.folder.remove()
	}
}

// moduleRoot finds this checkout: above the working directory, or else where the sources were when
// this was compiled.
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
	return "", mistake("there is no checkout of the plugin here: run the demo in one")
}
