package devgateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxBody is ours: a development gateway does not fill the disk.
const maxBody = 64 << 20

// bodyBuffer is how much of a body nginx keeps in memory with Kong's client_body_buffer_size of 8k:
// a quarter more where it knows the length beforehand. What is larger goes to disk.
func (x *exchange) bodyBuffer() int64 {
	if x.in.ProtoMajor == 1 && x.in.ContentLength >= 0 {
		return 10<<10 - 1
	}
	return 8 << 10
}

var errBodyTooLarge = errors.New("devgateway: the request's body is too large")

// loadBody reads the client's body once: into memory up to nginx's buffer, else into a temporary
// file.
func (x *exchange) loadBody() error {
	if x.bodyRead != nil || x.bodyFile != "" {
		return nil
	}
	buffer := x.bodyBuffer()
	head, err := io.ReadAll(io.LimitReader(x.body, buffer+1))
	if err != nil {
		return fmt.Errorf("devgateway: read the request's body: %w", err)
	}
	if int64(len(head)) <= buffer {
		x.setBody(head)
		return nil
	}
	f, err := os.CreateTemp("", "devgateway-body-*")
	if err != nil {
		return fmt.Errorf("devgateway: %w", err)
	}
	x.bodyFile = f.Name()
	n, err := io.Copy(f, io.LimitReader(io.MultiReader(bytes.NewReader(head), x.body), maxBody+1))
	if err == nil && n > maxBody {
		err = errBodyTooLarge
	}
	if _, serr := f.Seek(0, io.SeekStart); err == nil {
		err = serr
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("devgateway: keep the request's body: %w", err)
	}
	_ = x.body.Close()
	x.body, x.bodySize = f, n
	return nil
}

// setBody replaces the body (kong.service.request.set_raw_body).
func (x *exchange) setBody(b []byte) {
	if b == nil {
		b = []byte{}
	}
	x.bodyRead = b
	_ = x.body.Close()
	x.body = io.NopCloser(bytes.NewReader(b))
	x.bodySize = int64(len(b))
}

// close removes what the request left on disk.
func (x *exchange) close() {
	_ = x.body.Close()
	if x.bodyFile != "" {
		_ = os.Remove(x.bodyFile)
	}
}
