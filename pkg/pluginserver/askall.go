package pluginserver

import (
	"bytes"
	"fmt"
)

// A Call is a call of a function of Kong's plugin development kit.
type Call struct {
	Method string
	Args   []byte
}

// AskAll makes several calls in one write and waits for their answers, which come in order. It is
// Ask otherwise; the answers stay valid.
func (e *Event) AskAll(calls ...Call) ([][]byte, error) {
	for _, call := range calls {
		if err := e.queue(call.Method, call.Args); err != nil {
			return nil, err
		}
	}
	replies := make([][]byte, 0, len(calls))
	err := e.c.settle()
	for len(replies) < len(calls) && err == nil {
		var reply []byte
		if reply, err = e.c.answer(); err == nil {
			replies = append(replies, bytes.Clone(reply))
		}
	}
	if err != nil {
		e.err = fmt.Errorf("pluginserver: asking %d things: %w", len(calls), err)
		return nil, e.err
	}
	return replies, nil
}
