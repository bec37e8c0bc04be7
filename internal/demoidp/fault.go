package demoidp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"time"
)

// Delivery is how an answer gets to the client.
type Delivery string

const (
	Whole       Delivery = ""             // as it should
	Reset       Delivery = "reset"        // half of the body, then the connection is reset
	Closed      Delivery = "closed"       // the connection is closed without an answer
	Endless     Delivery = "endless"      // the body, then spaces for ever
	Drip        Delivery = "drip"         // a byte each Interval
	GzipBomb    Delivery = "gzip-bomb"    // the body, then a gibibyte of spaces, compressed to a megabyte
	HeaderFlood Delivery = "header-flood" // ten mebibytes of header
	Garbage     Delivery = "garbage"      // the first half of the body as if it were all, so that JSON breaks off
)

// Fault is a way to misbehave at one endpoint. What is done stands in this order: wait, answer,
// change, deliver.
type Fault struct {
	// Delay holds the request back; Hang does so until the fault is cleared or replaced, and then
	// the provider answers as it should, whatever else stands here. An answer is made after the
	// wait.
	Delay time.Duration
	Hang  bool

	// Status, if not 0, answers instead of the provider, with Header and Body: a redirect is 302
	// and a Location.
	Status int
	Header http.Header
	Body   []byte

	// Mutate changes the provider's JSON answer, whatever its status. A nil map says that it was no
	// JSON object.
	Mutate func(map[string]any)

	Deliver  Delivery
	Interval time.Duration // of Drip; default a second

	Times int     // how many requests it strikes; 0: all, until it is cleared
	Rate  float64 // strikes this part of the requests, at random by Options.Seed; 0: all
}

// activeFault is a Fault in force.
type activeFault struct {
	Fault
	left    int           // guarded by Server.mu
	cleared chan struct{} // closed when it is no longer in force
}

// SetFault makes an endpoint misbehave from the next request on, in place of what was set before;
// nil: it behaves again.
func (s *Server) SetFault(e Endpoint, f *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.faults[e]; old != nil {
		close(old.cleared)
		delete(s.faults, e)
	}
	if f != nil {
		s.faults[e] = &activeFault{Fault: *f, left: f.Times, cleared: make(chan struct{})}
	}
}

// strike returns the fault for a request that has just arrived, if it hits this one.
func (s *Server) strike(e Endpoint) *activeFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[e]
	if f == nil || f.Times > 0 && f.left == 0 || f.Rate > 0 && s.random.Float64() >= f.Rate {
		return nil
	}
	f.left--
	s.logger.Info("demo identity provider misbehaves", "endpoint", e, "status", f.Status, "deliver", f.Deliver, "delay", f.Delay,
		"hang", f.Hang, "mutate", f.Mutate != nil)
	return f
}

// wait returns false when the request ends first.
func (f *activeFault) wait(ctx context.Context) bool {
	if f.Hang {
		select {
		case <-f.cleared:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
	return f.Delay == 0 || sleep(ctx, f.Delay)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// change lets Mutate at the answer.
func (f *activeFault) change(a answer) answer {
	if f.Mutate == nil {
		return a
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		m = nil
	}
	f.Mutate(m)
	if m == nil {
		return a
	}
	body, err := json.Marshal(m)
	if err != nil {
		return answer{status: http.StatusInternalServerError, body: []byte("mutated into what is no JSON: " + err.Error())}
	}
	a.body = body
	return a
}

func (f *activeFault) deliver(w http.ResponseWriter, r *http.Request, a answer) {
	switch f.Deliver {
	case Reset:
		a.head(w, len(a.body))
		w.Write(a.body[:len(a.body)/2])
		reset(w)
	case Closed:
		panic(http.ErrAbortHandler)
	case Endless:
		a.head(w, -1)
		for _, err := w.Write(a.body); err == nil && r.Context().Err() == nil; {
			_, err = w.Write(spaces)
		}
	case Drip:
		f.drip(w, r, a)
	case GzipBomb:
		a.bomb(w, r)
	case HeaderFlood:
		w.Header().Set("X-Flood", strings.Repeat("x", 10<<20))
		a.write(w)
	case Garbage:
		a.body = a.body[:len(a.body)/2]
		a.write(w)
	default:
		a.write(w)
	}
}

var spaces = bytes.Repeat([]byte(" "), 32<<10)

// reset ends the connection with a TCP reset, HTTP/2's stream with one of its own.
func reset(w http.ResponseWriter) {
	rc := http.NewResponseController(w)
	rc.Flush()
	if c, _, err := rc.Hijack(); err == nil {
		under := c
		if t, ok := c.(interface{ NetConn() net.Conn }); ok {
			under = t.NetConn()
		}
		if t, ok := under.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		under.Close()
		return
	}
	panic(http.ErrAbortHandler)
}

func (f *activeFault) drip(w http.ResponseWriter, r *http.Request, a answer) {
	interval := f.Interval
	if interval <= 0 {
		interval = time.Second
	}
	rc := http.NewResponseController(w)
	a.head(w, len(a.body))
	for i := range a.body {
		if _, err := w.Write(a.body[i : i+1]); err != nil || rc.Flush() != nil || !sleep(r.Context(), interval) {
			return
		}
	}
}

// bomb writes the body and then 64 times the same 16 MiB: gzip members may follow one another (RFC
// 1952 §2.2).
func (a answer) bomb(w http.ResponseWriter, r *http.Request) {
	const member, members = 16 << 20, 64
	var first, rest bytes.Buffer
	compress(&first, a.body, 1)
	compress(&rest, spaces, member/len(spaces))
	w.Header().Set("Content-Encoding", "gzip")
	a.head(w, first.Len()+members*rest.Len())
	_, err := w.Write(first.Bytes())
	for i := 0; i < members && err == nil && r.Context().Err() == nil; i++ {
		_, err = w.Write(rest.Bytes())
	}
}

func compress(b *bytes.Buffer, data []byte, times int) {
	z := gzip.NewWriter(b)
	for range times {
		z.Write(data) // a bytes.Buffer takes all
	}
	z.Close()
}
