package main

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
	"github.com/kong-openid-connect/openid-connect/plugin"
)

// settings are those of the process. Each has a flag, and OPENID_CONNECT_* behind
// it: Kong starts a server with an empty environment, so flags come first.
type settings struct {
	dump, version bool

	kongPrefix  string
	socket      string
	socketMode  fs.FileMode
	socketGroup string
	caFile      string
	resolve     map[string]string
	logLevel    slog.Level
	logFile     string

	tokenCacheBytes, refusalCacheBytes int64

	unknown []string // variables with our prefix that belong to no flag
}

// envPrefix begins the name of every environment variable that belongs to a flag.
const envPrefix = "OPENID_CONNECT_"

func (s *settings) flags() *flag.FlagSet {
	s.socketMode, s.resolve = 0o600, map[string]string{}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&s.dump, "dump", false, "print the plugin's name, version and schema as JSON, and exit")
	flags.BoolVar(&s.version, "version", false, "print the version, and exit")
	flags.StringVar(&s.kongPrefix, "kong-prefix", "/usr/local/kong", "Kong's prefix `directory`")
	flags.StringVar(&s.socket, "socket", "", "`path` of the socket (default <kong-prefix>/openid-connect.socket)")
	flags.Func("socket-mode", "file `mode` of the socket, octal (default 0600)", s.setSocketMode)
	flags.StringVar(&s.socketGroup, "socket-group", "", "`group` of the socket, by name or number")
	flags.StringVar(&s.caFile, "ca-file", "", "PEM `file` of authorities trusted beside the system's, for identity providers")
	flags.Func("resolve", "`host:port=address:port` to use in place of DNS; may be repeated, or a comma-separated list", s.addResolve)
	s.tokenCacheBytes, s.refusalCacheBytes = plugin.DefaultTokenCacheBytes, plugin.DefaultRefusalCacheBytes
	flags.Func("token-cache-bytes", "`bytes` that cached tokens may take (default 67108864)", setBytes(&s.tokenCacheBytes))
	flags.Func("refusal-cache-bytes", "`bytes` that remembered refusals may take (default 16777216)", setBytes(&s.refusalCacheBytes))
	flags.Func("log-level", "`level`: debug, info, warn or error (default info)", s.setLogLevel)
	flags.StringVar(&s.logFile, "log-file", "", "`file` to append the log to (default standard error)")
	return flags
}

// parseSettings reads the environment and the flags. Its error is one sentence, or flag.ErrHelp.
func parseSettings(args []string) (*settings, error) {
	s := &settings{}
	flags := s.flags()
	for _, entry := range os.Environ() {
		variable, value, _ := strings.Cut(entry, "=")
		name, ours := strings.CutPrefix(variable, envPrefix)
		if !ours || value == "" {
			continue
		}
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if flags.Lookup(name) == nil || name == "dump" || name == "version" {
			s.unknown = append(s.unknown, variable)
		} else if err := flags.Set(name, value); err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, unknownCommand(flags.Arg(0))
	}
	if s.socket == "" {
		s.socket = defaultSocket(s.kongPrefix)
	}
	return s, nil
}

// setBytes reads a number of bytes into to.
func setBytes(to *int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n <= 0 {
			return errors.New("must be a whole number of bytes above 0, like 67108864")
		}
		*to = n
		return nil
	}
}

func (s *settings) setLogLevel(v string) error {
	if s.logLevel.UnmarshalText([]byte(v)) != nil {
		return errors.New("must be debug, info, warn or error")
	}
	return nil
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
