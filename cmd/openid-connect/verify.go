package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/oidc"
)

const verifyUsage = `usage: openid-connect verify -jwks FILE -issuer I [-audience A] [-alg RS256,ES256] [-now UNIX] [-leeway S] < token
       openid-connect verify -batch -issuer I … < lines

Judges a token offline and prints {"valid":…,"reason":…} as one line. Exit 0: valid, 1: not valid, 2: wrong use or unreadable input.
With -batch each line of the input is {"jwks":…,"token":…}, jwks an object or a string of JSON (default: the file of -jwks), with an
issuer and an audience of its own where it has them; one verdict a line is printed, and the exit is 0 when every line could be read.

`

// maxBatchLine bounds a line of -batch: a key set, a token and room for escapes.
const maxBatchLine = 8 << 20

type verdict struct {
	Valid  bool        `json:"valid"`
	Reason oidc.Reason `json:"reason"`
	Detail string      `json:"detail,omitempty"`
}

type verifyCommand struct {
	policy oidc.Policy
	jwks   []byte
	now    func() time.Time
}

// runVerify is the subcommand verify; args are those behind its name. It returns the exit code.
func runVerify(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, batch, err := parseVerifyFlags(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return wrongUse(stderr, "openid-connect verify", err)
	}
	if batch {
		return c.batch(stdin, stdout, stderr)
	}
	// One byte more than a token may have, and its newline, so that too much is seen as too much.
	raw, err := io.ReadAll(io.LimitReader(stdin, oidc.DefaultMaxSize+3))
	if err != nil {
		fmt.Fprintln(stderr, "openid-connect verify: reading the token:", err)
		return 2
	}
	token := strings.TrimRight(string(raw), "\r\n")
	if token == "" {
		fmt.Fprintln(stderr, "openid-connect verify: no token on standard input")
		return 2
	}
	v := c.judge(c.jwks, token, c.policy)
	printVerdict(stdout, v)
	if !v.Valid {
		return 1
	}
	return 0
}

func parseVerifyFlags(args []string, stdout io.Writer) (c *verifyCommand, batch bool, err error) {
	c = &verifyCommand{now: time.Now}
	fs := flag.NewFlagSet("verify", flag.ContinueOnError)
	file := fs.String("jwks", "", "`file` with the JWK Set")
	issuer := fs.String("issuer", "", "the only accepted `iss`; needed unless -claims=false")
	audience := fs.String("audience", "", "what must be in `aud`; empty: any")
	algs := fs.String("alg", "", "comma-separated `list` of accepted algorithms (default all asymmetric ones)")
	unix := fs.Int64("now", 0, "the time as `seconds` since 1970 (default the clock)")
	leeway := fs.Float64("leeway", 0, "`seconds` of tolerance for exp, nbf and iat")
	claims := fs.Bool("claims", true, "judge the claims; false: header, key and signature only, over any payload")
	hs := fs.Bool("hs", false, "allow HMAC with an oct key of the set")
	fs.BoolVar(&batch, "batch", false, "judge JSON lines")
	if err := parseFlags(fs, args, verifyUsage, stdout); err != nil {
		return nil, false, err
	}
	switch {
	case fs.NArg() > 0:
		return nil, false, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case *claims && *issuer == "":
		return nil, false, errors.New("-issuer is needed unless -claims=false")
	case *file == "" && !batch:
		return nil, false, errors.New("-jwks is needed")
	case !(*leeway >= 0 && *leeway <= 1e9):
		return nil, false, errors.New("-leeway must be a number of seconds from 0 to 1e9")
	}
	c.policy = oidc.Policy{
		SignatureOnly:  !*claims,
		HMACFromKeySet: *hs,
		Leeway:         time.Duration(*leeway * float64(time.Second)),
		Issuers:        list(*issuer),
		Audience:       list(*audience),
	}
	if *algs != "" {
		c.policy.Algorithms = strings.Split(*algs, ",")
	}
	for _, alg := range c.policy.Algorithms {
		if !oidc.Supported(alg) {
			return nil, false, fmt.Errorf("-alg: unknown algorithm %q", alg)
		}
	}
	fs.Visit(func(f *flag.Flag) {
		if f.Name == "now" {
			c.now = func() time.Time { return time.Unix(*unix, 0) }
		}
	})
	if *file != "" {
		c.jwks, err = readKeySet(*file)
	}
	return c, batch, err
}

// list is s alone, or nothing when it is empty.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// readKeySet reads a file that must be a key set, perhaps one without a key that can be used.
func readKeySet(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("-jwks: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, oidc.MaxKeySetSize+1))
	if err == nil {
		_, err = oidc.ParseKeySet(raw)
	}
	if err != nil && !errors.Is(err, oidc.ErrNoKeys) {
		return nil, fmt.Errorf("-jwks %s: %w", name, err)
	}
	return raw, nil
}

func (c *verifyCommand) judge(jwks []byte, token string, p oidc.Policy) verdict {
	keys, err := oidc.ParseKeySet(jwks)
	if err != nil && !errors.Is(err, oidc.ErrNoKeys) {
		return verdict{Reason: oidc.ReasonBadKey, Detail: err.Error()}
	}
	_, err = oidc.Verify(token, keys, p, c.now())
	var rej *oidc.Rejection
	if errors.As(err, &rej) {
		return verdict{Reason: rej.Reason, Detail: rej.Detail}
	}
	return verdict{Valid: err == nil}
}

type batchLine struct {
	JWKS     json.RawMessage `json:"jwks"`
	Token    string          `json:"token"`
	Issuer   string          `json:"issuer"`
	Audience string          `json:"audience"`
}

func (c *verifyCommand) batch(stdin io.Reader, stdout, stderr io.Writer) int {
	code := 0
	out := bufio.NewWriter(stdout)
	defer out.Flush()
	in := bufio.NewReaderSize(stdin, 64<<10)
	for n := 1; ; n++ {
		line, tooLong, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			fmt.Fprintln(stderr, "openid-connect verify: reading the lines:", err)
			return 2
		}
		if len(bytes.TrimSpace(line)) > 0 {
			v, lineErr := c.judgeLine(line)
			if tooLong {
				lineErr = fmt.Errorf("more than %d bytes", maxBatchLine)
			}
			if lineErr != nil {
				fmt.Fprintf(stderr, "openid-connect verify: line %d: %v\n", n, lineErr)
				v, code = verdict{Reason: oidc.ReasonMalformed, Detail: "unreadable line"}, 2
			}
			printVerdict(out, v)
		}
		if err != nil {
			return code
		}
	}
}

func (c *verifyCommand) judgeLine(line []byte) (verdict, error) {
	var l batchLine
	if err := json.Unmarshal(line, &l); err != nil {
		return verdict{}, err
	}
	jwks := []byte(l.JWKS)
	switch {
	case len(jwks) == 0:
		jwks = c.jwks
	case jwks[0] == '"':
		var text string
		if err := json.Unmarshal(jwks, &text); err != nil {
			return verdict{}, err
		}
		jwks = []byte(text)
	}
	p := c.policy
	if l.Issuer != "" {
		p.Issuers = list(l.Issuer)
	}
	if l.Audience != "" {
		p.Audience = list(l.Audience)
	}
	return c.judge(jwks, l.Token, p), nil
}

// readLine returns the next line, of which it keeps no more than maxBatchLine bytes, and io.EOF
// with the last one.
func readLine(in *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxBatchLine {
			tooLong = true
		} else {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, tooLong, err
		}
	}
}

func printVerdict(w io.Writer, v verdict) {
	_ = json.NewEncoder(w).Encode(v)
}
