package oauth2

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/kong-openid-connect/openid-connect/pkg/egress"
)

var testTime = time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)

func testNow() time.Time { return testTime }

// verdict is the outcome of a response in the words of testdata.
func verdict(resp *egress.Response) string {
	t, err := parseTokenResponse(resp, testTime, func(text string) bool { return strings.Contains(text, "canary-secret") })
	var no *Error
	var bad *BadResponse
	switch {
	case errors.As(err, &no):
		s := fmt.Sprintf("no %d %s|%s", no.Status, no.Code, no.Description)
		if no.RetryAfter != 0 {
			s += " retry " + no.RetryAfter.String()
		}
		return s
	case errors.As(err, &bad):
		return "bad " + bad.Reason
	case err != nil:
		return "unexpected " + err.Error()
	}
	s := "ok " + string(t.AccessToken)
	if t.ExpiresIn.Known {
		s += fmt.Sprintf(" %ds", t.ExpiresIn.Seconds)
	}
	return s
}

func TestAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(ar.Files); i += 2 {
			answer, want := ar.Files[i], ar.Files[i+1]
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+answer.Name, func(t *testing.T) {
				if want.Name != answer.Name+".want" {
					t.Fatalf("%s is followed by %s", answer.Name, want.Name)
				}
				if got := verdict(parseAnswer(t, string(answer.Data))); got != strings.TrimSpace(string(want.Data)) {
					t.Errorf("got  %s\nwant %s", got, want.Data)
				}
			})
		}
	}
}

func parseAnswer(t *testing.T, s string) *egress.Response {
	t.Helper()
	status, rest, _ := strings.Cut(s, "\n")
	code, err := strconv.Atoi(status)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut("\n"+rest, "\n\n")
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimPrefix(head+"\n\n", "\n")))).ReadMIMEHeader()
	if err != nil && len(header) > 0 {
		t.Fatal(err)
	}
	return &egress.Response{Status: code, Header: http.Header(header), Body: []byte(body)}
}

func TestBounds(t *testing.T) {
	answer := func(token string) *egress.Response {
		return &egress.Response{Status: 200, Body: []byte(`{"token_type":"Bearer","access_token":"` + token + `"}`)}
	}
	if got := verdict(answer(strings.Repeat("a", maxToken))); !strings.HasPrefix(got, "ok a") {
		t.Error(got)
	}
	if got := verdict(answer(strings.Repeat("a", maxToken+1))); got != "bad access_token is above 64 KiB" {
		t.Error(got)
	}
	if got := verdict(answer("\xff")); got != "bad not UTF-8" {
		t.Error(got)
	}
	long := &egress.Response{Status: 400, Body: []byte(`{"error":"` + strings.Repeat("e", 1000) + `","error_description":"` + strings.Repeat("é", 1000) + `"}`)}
	_, err := parseTokenResponse(long, testTime, func(string) bool { return false })
	var no *Error
	if !errors.As(err, &no) || len(no.Code) != maxCode || len(no.Description) != maxDescription {
		t.Errorf("%v", err)
	}
	deep := &egress.Response{Status: 200, Body: []byte(`{"a":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`)}
	if got := verdict(deep); got != "bad nested too deeply or too many members" {
		t.Error(got)
	}
}

func TestReason(t *testing.T) {
	for code, want := range map[string]string{
		"invalid_client": "invalid_client", "invalid_target": "invalid_target", "": Refused, "invalid_client_7f3a": Refused, "Invalid_Client": Refused, redacted: Refused,
	} {
		if got := (&Error{Status: 400, Code: code}).Reason(); got != want {
			t.Errorf("%q: %s, want %s", code, got, want)
		}
	}
}

// What is kept of an answer keeps nothing else of it alive: 2 KiB each are plenty.
func TestKeptAnswersAreSmall(t *testing.T) {
	const answers, most = 40, 40 * 2 << 10
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	filler := strings.Repeat("x", 250<<10)
	body := []byte(`{"error":"` + filler + `","error_description":"` + filler + `"}`)
	before := live()
	var errs []error
	for range answers {
		_, err := parseTokenResponse(&egress.Response{Status: 400, Body: body}, testTime, func(string) bool { return false })
		errs = append(errs, err)
	}
	if got := live() - before; got > most {
		t.Errorf("%d errors keep %d bytes", answers, got)
	}
	runtime.KeepAlive(errs)

	before = live()
	var tokens []Secret
	var values [][]string
	for range answers {
		h := http.Header{"X-Kept": {"1"}, "X-Large": {string(body)}} // as net/http does it, in one array
		shared := append(h["X-Kept"], h["X-Large"]...)
		h["X-Kept"], h["X-Large"] = shared[:1:1], shared[1:]
		r, err := parseTokenResponse(&egress.Response{Status: 200, Header: h, Body: []byte(`{"access_token":"t","x":"` + filler + `"}`)}, testTime, nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens, values = append(tokens, r.AccessToken), append(values, r.Header["X-Kept"])
	}
	if got := live() - before; got > most {
		t.Errorf("%d tokens and headers keep %d bytes", answers, got)
	}
	runtime.KeepAlive(tokens)
	runtime.KeepAlive(values)
}

// FuzzTokenResponse: what is accepted is safe for a header, bounded, and says Bearer; what
// is refused says so in printable, bounded words.
func FuzzTokenResponse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range txtar.Parse(data).Files {
			_, body, _ := strings.Cut(string(a.Data), "\n\n")
			f.Add(200, body)
			f.Add(400, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		r, err := parseTokenResponse(&egress.Response{Status: status, Body: []byte(body)}, testTime, func(string) bool { return false })
		if err != nil {
			var no *Error
			var bad *BadResponse
			if !errors.As(err, &no) && !errors.As(err, &bad) {
				t.Fatalf("untyped error %v", err)
			}
			if len(err.Error()) > 512 || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Fatalf("message %q", err)
			}
			return
		}
		bearer := r.TokenType == "" || strings.EqualFold(r.TokenType, "bearer") || strings.EqualFold(r.TokenType, "bearertoken")
		if status < 200 || status > 299 || r.AccessToken == "" || !bearer {
			t.Fatalf("accepted %d %q", status, body)
		}
		for _, token := range []Secret{r.AccessToken, r.RefreshToken, r.IDToken} {
			if len(token) > maxToken || strings.ContainsFunc(string(token), func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
				t.Fatalf("token %q", string(token))
			}
		}
		if l := r.ExpiresIn; l.Seconds < 0 || l.Duration() < 0 || l.Seconds > maxLifetime || (!l.Known && l.Seconds != 0) {
			t.Fatalf("lifetime %+v", l)
		}
	})
}
