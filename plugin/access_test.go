package plugin

import (
	"testing"

	"github.com/kong-openid-connect/openid-connect/plugin/config"
)

// TestPanicInDecide: a fault of ours is a refusal with an error id, as every other one.
func TestPanicInDecide(t *testing.T) {
	p := New(Options{})
	defer p.Close()
	i := &Instance{plugin: p, cfg: &config.Config{}, render: newRenderer(&config.Config{}, nil)}
	d := i.decide(t.Context(), nil) // nothing that it needs is there
	if d == nil || d.Pass || d.Exit == nil || d.Exit.Status != 500 || d.Exit.Headers[0].Name != errorIDHeader {
		t.Errorf("%+v", d)
	}
}
