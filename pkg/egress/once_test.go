package egress

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// A request that is good for one use is not sent twice once its bytes were written (behaviour.md
// §5), whatever headers it has.
func TestOnceIsOnce(t *testing.T) {
	for _, header := range []http.Header{{}, {"Idempotency-Key": {"x"}}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var posts atomic.Int32
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					r := bufio.NewReader(c)
					for n := 0; ; n++ {
						req, err := http.ReadRequest(r)
						if err != nil {
							return
						}
						buf := make([]byte, req.ContentLength)
						_, _ = req.Body.Read(buf)
						posts.Add(1)
						if n > 0 {
							return // read, then gone
						}
						_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
					}
				}()
			}
		}()
		p := NewPool(Options{})
		c := p.Client(Settings{Keepalive: true})
		do := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_, err := c.Do(ctx, Request{Method: "POST", URL: "http://" + l.Addr().String() + "/token", Header: header, Body: []byte("client_assertion=once")})
			return err
		}
		if err := do(); err != nil {
			t.Fatal(err)
		}
		err = do()
		if n := posts.Load(); n != 2 {
			t.Errorf("%v: the provider saw %d requests of 2 (%v)", header, n, err)
		}
		p.Close()
		_ = l.Close()
	}
}
