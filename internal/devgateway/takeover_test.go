package devgateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

// A successor that binds the socket takes over under load, twenty times, and no request notices.
func TestTakeoverUnderLoad(t *testing.T) {
	const connections, takeovers = 64, 20
	w := newWorldWith(t, Options{Workers: 2, ClaimStep: time.Millisecond})
	w.handle(func(e *pluginserver.Event) error { // the calls of a cached request
		if _, err := e.Ask("kong.request.get_headers", pluginserver.AppendInt(nil, 1000)); err != nil {
			return err
		}
		return e.Tell("kong.service.request.set_header", kv("X-User", "u"))
	})
	var answered atomic.Int64
	var mu sync.Mutex // guards lost
	lost := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			transport := &http.Transport{MaxIdleConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for ctx.Err() == nil {
				what := ""
				res, err := client.Get(w.proxy.URL)
				if err != nil {
					what = err.Error()
				} else {
					if res.StatusCode != http.StatusOK {
						what = fmt.Sprint("status ", res.StatusCode)
					}
					_ = res.Body.Close()
				}
				answered.Add(1)
				if what != "" {
					mu.Lock()
					lost[what]++
					mu.Unlock()
				}
			}
		})
	}
	progress := func() { // every connection has been answered about twice
		enough := answered.Load() + 2*connections
		until(t, func() bool { return answered.Load() >= enough })
	}
	for range takeovers {
		progress()
		w.takeOver()
	}
	progress()
	cancel()
	clients.Wait()
	t.Logf("%d requests", answered.Load())
	if len(lost) > 0 {
		t.Errorf("lost of %d requests: %v", answered.Load(), lost)
	}
}

// takeOver starts a successor on the same socket and waits until the old server has ended by
// itself.
func (w *world) takeOver() {
	w.t.Helper()
	old := w.ended
	w.serve(pluginserver.Info{Name: "probe"})
	w.endOf(old)
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("never")
		}
		time.Sleep(time.Millisecond) // a poll, since nothing tells of it
	}
}
