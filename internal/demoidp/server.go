// Package demoidp is a small OpenID Connect provider in this process: real keys, real tokens, real
// HTTP, for the demonstration and for tests. It serves discovery, a key set and the client
// credentials grant (RFC 6749 §4.4) from github.com/zitadel/oidc/v3/pkg/op, records what it was
// asked, rotates its keys, stops and comes back, and misbehaves when it is told to (Fault).
//
// It is no provider for production: its clients' secrets stand in the source, and it hands recorded
// requests to whoever asks for them. It has no users, no login and no other grant, and it shares no
// code with the plugin that it judges.
package demoidp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// Endpoint names what a request was for, in Calls and SetFault.
type Endpoint string

const (
	DiscoveryEndpoint Endpoint = "discovery"
	JWKSEndpoint      Endpoint = "jwks"
	TokenEndpoint     Endpoint = "token"
	OtherEndpoint     Endpoint = "other" // any path that is not served: 404
)

const (
	maxForm     = 1 << 20 // bytes of a request's body
	maxRecorded = 1000    // token requests kept, the newest
)

// Options of a provider. The zero value is one with the default clients on a free port of the
// loopback.
type Options struct {
	Addr    string       // where to listen; default "127.0.0.1:0"
	Issuer  string       // default http(s)://ADDR; may have another host and a path, such as http://keycloak.test:8080/auth/realms/master
	Clients []Client     // default DefaultClients()
	TLS     *tls.Config  // serve https (and HTTP/2) with these certificates
	Seed    uint64       // of the faults that strike at random; 0: a random one. It is logged
	Logger  *slog.Logger // default: silence
}

// Server is a running provider. All its methods may be called at any time and by many.
type Server struct {
	opts     Options
	addr     string
	issuer   string
	base     string // path of the issuer, without a slash at its end
	logger   *slog.Logger
	provider *op.Provider
	storage  *storage
	keys     *keyring
	release  func() bool // of the ctx that Start was given

	life sync.Mutex // guards run and closed: one start or stop at a time
	run  *run       // nil while stopped

	closed bool

	mu          sync.Mutex // guards all that follows
	calls       map[Endpoint]int
	connections int
	requests    []TokenRequest
	changed     chan struct{} // closed and replaced when calls change
	faults      map[Endpoint]*activeFault
	random      *mathrand.Rand
}

// run is one stretch between a start and a stop.
type run struct {
	http   *http.Server
	cancel context.CancelFunc
	done   chan struct{} // Serve has returned
	// handlers is read-locked by each request: who gets the write lock after http was closed knows
	// that all have ended.
	handlers sync.RWMutex
}

// TokenRequest is a recorded request to the token endpoint, with the secrets that came with it.
type TokenRequest struct {
	Time   time.Time
	Form   url.Values // of the body
	Header http.Header
}

// Start listens, makes the keys and serves until Close, or until ctx ends.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Clients == nil {
		opts.Clients = DefaultClients()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Seed == 0 {
		opts.Seed = mathrand.Uint64()
	}
	keys, err := newKeyring(opts.Clients)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("demoidp: %w", err)
	}
	s := &Server{
		opts: opts, addr: l.Addr().String(), logger: opts.Logger, keys: keys,
		calls: map[Endpoint]int{}, changed: make(chan struct{}), faults: map[Endpoint]*activeFault{},
		random: mathrand.New(mathrand.NewPCG(opts.Seed, 0)),
	}
	if err := s.setUp(); err != nil {
		l.Close()
		return nil, err
	}
	s.life.Lock()
	s.serve(l)
	s.life.Unlock()
	s.release = context.AfterFunc(ctx, s.end)
	s.logger.Info("demo identity provider is up", "issuer", s.issuer, "address", s.addr, "seed", opts.Seed)
	return s, nil
}

// setUp makes op's side of the provider.
func (s *Server) setUp() error {
	s.issuer = s.opts.Issuer
	if s.issuer == "" {
		s.issuer = s.scheme() + "://" + s.addr
	}
	u, err := url.Parse(s.issuer)
	if err != nil {
		return fmt.Errorf("demoidp: issuer: %w", err)
	}
	s.base = strings.TrimSuffix(u.EscapedPath(), "/")
	if s.storage, err = newStorage(s.opts.Clients, s.keys); err != nil {
		return err
	}
	conf := &op.Config{AuthMethodPost: true}
	rand.Read(conf.CryptoKey[:]) // never fails
	s.provider, err = op.NewProvider(conf, s.storage, op.StaticIssuer(s.issuer), op.WithAllowInsecure())
	if err != nil {
		return fmt.Errorf("demoidp: issuer %q: %w", s.issuer, err)
	}
	return nil
}

// serve starts a run on l; life is held.
func (s *Server) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{cancel: cancel, done: make(chan struct{})}
	r.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r.handlers.RLock()
			defer r.handlers.RUnlock()
			if ctx.Err() != nil {
				panic(http.ErrAbortHandler)
			}
			s.handle(w, req)
		}),
		TLSConfig:         s.opts.TLS,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.mu.Lock()
				s.connections++
				s.mu.Unlock()
			}
		},
	}
	s.run = r
	go func() {
		defer close(r.done)
		if s.opts.TLS != nil {
			r.http.ServeTLS(l, "", "") // both return what Stop makes them return
		} else {
			r.http.Serve(l)
		}
	}()
}

// Stop ends the listener and all connections, as when the provider's host goes down, and waits for
// the requests in progress. Keys, counts and faults stay. It does nothing while stopped.
func (s *Server) Stop() {
	s.life.Lock()
	defer s.life.Unlock()
	s.stop()
}

func (s *Server) stop() {
	if s.run == nil {
		return
	}
	r := s.run
	s.run = nil
	r.cancel()
	r.http.Close()
	<-r.done
	r.handlers.Lock()
	//lint:ignore SA2001 whoever gets the lock knows that all handlers have ended; what begins now sees that ctx has
	r.handlers.Unlock()
	s.logger.Info("demo identity provider is stopped", "address", s.addr)
}

// Restart serves again, on the same port and with the same keys. It does nothing while running; it
// fails when the port has gone to another or after Close.
func (s *Server) Restart() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return errors.New("demoidp: closed")
	}
	if s.run != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("demoidp: %w", err)
	}
	s.serve(l)
	s.logger.Info("demo identity provider is up again", "address", s.addr)
	return nil
}

// Close stops for good.
func (s *Server) Close() {
	s.release()
	s.end()
}

func (s *Server) end() {
	s.life.Lock()
	defer s.life.Unlock()
	s.closed = true
	s.stop()
}

// Addr is where the provider really listens, host:port.
func (s *Server) Addr() string { return s.addr }

// Issuer is the issuer of the discovery document and of the tokens.
func (s *Server) Issuer() string { return s.issuer }

// URL is the issuer's path at the real address: what the issuer would be if its name resolved to
// here. No slash at its end.
func (s *Server) URL() string { return s.scheme() + "://" + s.addr + s.base }

func (s *Server) scheme() string {
	if s.opts.TLS != nil {
		return "https"
	}
	return "http"
}

// Calls returns how many requests an endpoint has had, also those that a fault struck.
func (s *Server) Calls(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[e]
}

// Connections returns how many connections were accepted.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

// Await waits until an endpoint has had at least n requests: they have arrived, their answers may
// be under way.
func (s *Server) Await(ctx context.Context, e Endpoint, n int) error {
	for {
		s.mu.Lock()
		have, changed := s.calls[e], s.changed
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("demoidp: %d of %d calls to %s: %w", have, n, e, ctx.Err())
		}
	}
}

// TokenRequests returns what the token endpoint was sent, the oldest first, at most the last
// thousand.
func (s *Server) TokenRequests() []TokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ResetCalls sets all counts to zero and forgets the recorded requests.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
	s.connections, s.requests = 0, nil
}

// count records the arrival of a request.
func (s *Server) count(e Endpoint, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[e]++
	if e == TokenEndpoint {
		if len(s.requests) == maxRecorded {
			s.requests = slices.Delete(s.requests, 0, 1)
		}
		s.requests = append(s.requests, TokenRequest{Time: time.Now(), Form: r.PostForm, Header: r.Header.Clone()})
	}
	close(s.changed)
	s.changed = make(chan struct{})
}
