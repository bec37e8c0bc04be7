package main

import (
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

// settings are those of the process. Each has a flag, and OPENID_CONNECT_* behind
// it: Kong starts a server with an empty environment, so flags come first.
type settings struct {
	dump        bool
	version     bool
	kongPrefix  string
	socket      string
	socketMode  fs.FileMode
	socketGroup string
	caFile      string
	resolve     map[string]string
	logLevel    slog.Level
	logFile     string

	warnings []string // about the environment
}

// variablePrefix begins the names of the environment variables that are settings.
const variablePrefix = "OPENID_CONNECT_"

// variable is the environment variable behind a flag; "" for the two that are no settings.
func variable(f *flag.Flag) string {
	if f.Name == "dump" || f.Name == "version" {
		return ""
	}
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// parseSettings reads the settings of the server. For -h it prints the help to stdout and returns
// flag.ErrHelp.
func parseSettings(args []string, stdout io.Writer) (*settings, error) {
	s := &settings{socketMode: 0o600, resolve: map[string]string{}}
	flags := flag.NewFlagSet("openid-connect", flag.ContinueOnError)
	flags.BoolVar(&s.dump, "dump", false, "print the plugin's name, version and schema as JSON, and exit")
	flags.BoolVar(&s.version, "version", false, "print the version, the commit and the version of Go, and exit")
	flags.StringVar(&s.kongPrefix, "kong-prefix", "/usr/local/kong", "Kong's prefix `directory`")
	flags.StringVar(&s.socket, "socket", "", "`path` of the socket (default <kong-prefix>/openid-connect.socket)")
	flags.Func("socket-mode", "file `mode` of the socket, octal (default 0600)", s.setSocketMode)
	flags.StringVar(&s.socketGroup, "socket-group", "", "`group` of the socket, by name or number")
	flags.StringVar(&s.caFile, "ca-file", "", "PEM `file` of authorities trusted beside the system's, for identity providers")
	flags.Func("resolve", "`host:port=address:port` to use in place of DNS; may be repeated, or a comma-separated list", s.addResolve)
	flags.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "`level`: debug, info, warn or error")
	flags.StringVar(&s.logFile, "log-file", "", "`file` to append the log to (default standard error)")

	var err error
	flags.VisitAll(func(f *flag.Flag) {
		name := variable(f)
		if value := os.Getenv(name); value != "" && err == nil {
			if err = flags.Set(f.Name, value); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
	})
	if parseErr := parseFlags(flags, args, usage, stdout); parseErr != nil {
		return nil, parseErr
	}
	if word := flags.Arg(0); slices.Contains(commands, word) {
		return nil, fmt.Errorf("the command %s must come first", word)
	} else if flags.NArg() > 0 {
		return nil, unknownCommand(word)
	}
	if err != nil && !s.version { // nor does the environment matter for the help
		return nil, err
	}
	s.warnings = unknownVariables(flags, os.Environ())
	if s.socket == "" {
		s.socket = defaultSocket(s.kongPrefix)
	}
	return s, nil
}

func (s *settings) setSocketMode(v string) error {
	mode, err := strconv.ParseUint(v, 8, 32)
	if err != nil || mode > 0o777 {
		return fmt.Errorf("not an octal file mode: %q", v)
	}
	s.socketMode = fs.FileMode(mode)
	return nil
}

func (s *settings) addResolve(v string) error {
	for entry := range strings.SplitSeq(v, ",") {
		from, to, ok := strings.Cut(entry, "=")
		if _, _, err := net.SplitHostPort(from); !ok || err != nil {
			return fmt.Errorf("not host:port=address:port: %q", entry)
		}
		if _, err := netip.ParseAddrPort(to); err != nil {
			return fmt.Errorf("not host:port=address:port: %q: %w", entry, err)
		}
		s.resolve[strings.ToLower(from)] = to
	}
	return nil
}

// rootCAs reads -ca-file; nil without one.
func (s *settings) rootCAs() (*x509.CertPool, error) {
	if s.caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.caFile)
	if err != nil {
		return nil, fmt.Errorf("-ca-file: %w", err)
	}
	roots, err := egress.Roots(pem)
	if err != nil {
		return nil, fmt.Errorf("-ca-file %s: %w", s.caFile, err)
	}
	return roots, nil
}

func (s *settings) logOutput(stderr io.Writer) (io.Writer, func(), error) {
	if s.logFile == "" {
		return stderr, func() {}, nil
	}
	f, err := os.OpenFile(s.logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("-log-file: %w", err)
	}
	return f, func() { _ = f.Close() }, nil
}
