package egress

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// Kind says what went wrong, as a word for logs and metrics. It is an error itself, so
// that errors.Is(err, egress.TLS) asks for it.
type Kind string

// The kinds of Error.
const (
	Unreachable    Kind = "idp_unreachable"     // not connected, or the connection broke before the answer ended
	DNS            Kind = "idp_dns"             // the name has no address
	TLS            Kind = "idp_tls"             // handshake or certificate
	Timeout        Kind = "idp_timeout"         // connected, no whole answer in time
	Canceled       Kind = "idp_canceled"        // the caller left, or the Pool was closed
	Busy           Kind = "idp_busy"            // too many calls at once to this provider
	TooLarge       Kind = "idp_too_large"       // header or body above the bound
	Malformed      Kind = "idp_malformed"       // not HTTP
	RefusedAddress Kind = "idp_refused_address" // an address that no provider has
	RefusedURL     Kind = "idp_refused_url"     // see CheckURL
	BadRequest     Kind = "idp_bad_request"     // the request cannot be sent: method or header
	Proxy          Kind = "idp_proxy"           // the proxy's settings or its answer
)

func (k Kind) Error() string { return string(k) }

// Error is why an exchange has no answer. Its message names host and cause, nothing of
// the query, the headers or the body.
type Error struct {
	Kind   Kind
	Host   string // "host:port", or as much of it as is known
	reason string
	cause  error
	// stale says that a kept connection broke, or said nothing in its time: the others that
	// are kept are likely as dead, and the provider most likely never read the request.
	stale bool
}

func (e *Error) Error() string {
	if e.Host == "" {
		return "egress: " + e.reason
	}
	return "egress: " + e.Host + ": " + e.reason
}

// Unwrap returns the cause, for errors.Is and errors.As. Its text is not safe to log.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is e's Kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// phase is how far an exchange had come when it failed.
type phase struct {
	connected bool // it had a connection
	reused    bool // which had served another exchange before
	answered  bool // the first byte of an answer had come
}

// classify makes an *Error of what an exchange failed with. ctxErr is the state of the
// exchange's context.
func classify(host string, err, ctxErr error, ph phase) *Error {
	var known *Error
	if errors.As(err, &known) && ctxErr == nil {
		return known
	}
	e := &Error{Host: host, cause: err, stale: ph.reused && !ph.answered && !errors.Is(ctxErr, context.Canceled)}
	switch {
	case errors.Is(ctxErr, context.DeadlineExceeded) && !ph.connected:
		e.Kind, e.reason = Unreachable, "not connected in time"
	case errors.Is(ctxErr, context.DeadlineExceeded):
		e.Kind, e.reason = Timeout, "no whole answer in time"
	case ctxErr != nil:
		e.Kind, e.reason = Canceled, "given up by the caller"
	case strings.Contains(err.Error(), "response headers exceeded"), strings.Contains(err.Error(), "too many 1xx"):
		e.Kind, e.reason = TooLarge, "the answer's header is above "+strconv.Itoa(maxHeader)+" bytes"
	case strings.Contains(err.Error(), "malformed"), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		e.Kind, e.reason = Malformed, "the answer is not HTTP"
	default:
		e.Kind, e.reason = Unreachable, "the connection broke before the answer ended"+because(err)
	}
	return e
}

// because gives the operating system's word for err, if it is one. Other texts may repeat
// what the provider sent.
func because(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return ": " + errno.Error()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ": closed by the other side"
	}
	return ""
}

// dialError is the Error of one address that could not be connected.
func dialError(host string, addr string, err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Kind: Unreachable, Host: host, cause: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.reason = "not connected in time (" + addr + ")"
	case errors.Is(err, context.Canceled):
		e.Kind, e.reason = Canceled, "given up by the caller"
	default:
		e.reason = "cannot connect to " + addr + because(err)
	}
	return e
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// tlsError is the Error of a failed handshake.
func tlsError(host string, err error) *Error {
	e := &Error{Kind: TLS, Host: host, cause: err}
	var (
		known     *Error
		unknown   x509.UnknownAuthorityError
		wrongHost x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.Kind, e.reason = Unreachable, "no TLS handshake in time"
	case errors.Is(err, context.Canceled):
		e.Kind, e.reason = Canceled, "given up by the caller"
	case errors.As(err, &unknown):
		e.reason = "certificate signed by an unknown authority (name its CA to the plugin server with -ca-file)"
	case errors.As(err, &wrongHost):
		e.reason = "certificate is for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.reason = "certificate has expired or is not yet valid"
	case errors.As(err, &invalid):
		e.reason = "certificate is not valid for a server"
	case errors.As(err, &record):
		e.reason = "the other side does not speak TLS"
	case errors.As(err, &alert):
		e.reason = "TLS handshake refused: " + alert.Error()
	case errors.Is(err, errWeakKey):
		e.reason = errWeakKey.Error()
	case strings.Contains(err.Error(), "protocol version"):
		e.reason = "the other side has no TLS 1.2 or newer"
	default:
		e.reason = "TLS handshake failed" + because(err)
	}
	return e
}

var errWeakKey = errors.New("certificate has an RSA key below 2048 bits")
