package devgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const (
	claimStep  = 100 * time.Millisecond // between two looks at an instance that another request starts …
	claimSteps = 100                    // … and how many there are before the claim is taken away
	maxRetries = 100                    // Kong has no bound: 10,500 in 1.7 s were seen
)

// configured is one plugin of the Admin API as Kong's plugins iterator holds it: its configuration
// with the members that Kong adds. It is made anew, with another seq, whenever any plugin changes.
type configured struct {
	id, name string
	seq      int64
	config   []byte // the JSON of StartInstance

	route, service, consumer string // what it is bound to, "" = all
}

// newConfigured builds what Kong's get_plugin_config builds.
func newConfigured(e map[string]any, seq int64) (*configured, error) {
	c := &configured{seq: seq, route: foreignID(e, "route"), service: foreignID(e, "service"), consumer: foreignID(e, "consumer")}
	c.id, _ = e["id"].(string)
	c.name, _ = e["name"].(string)
	config, _ := withoutNulls(e["config"]).(map[string]any)
	if config == nil {
		config = map[string]any{}
	}
	// These four carry no underscores in Kong, too: a plugin with strict eyes has to know them.
	for member, v := range map[string]string{"route_id": c.route, "service_id": c.service, "consumer_id": c.consumer} {
		if v != "" {
			config[member] = v
		}
	}
	if name, ok := e["instance_name"].(string); ok {
		config["plugin_instance_name"] = name
	}
	config["__plugin_id"] = c.id
	config["__ws_id"] = workspaceID
	config["__key__"] = fmt.Sprintf("plugins:%s:%s:%s:%s::%s", c.name, c.route, c.service, c.consumer, workspaceID)
	config["__seq__"] = seq
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("devgateway: the configuration of plugin %s: %w", c.id, err)
	}
	c.config = raw
	return c, nil
}

// workspaceID is that of the only workspace there is.
const workspaceID = "0c0ffee0-0000-4000-8000-000000000000"

// pluginHost is Kong's side of one plugin server.
type pluginHost struct {
	info    pluginserver.Info
	socket  string
	log     *slog.Logger
	starts  atomic.Int64 // StartInstance calls, for tests and the curious
	workers []*worker

	readTimeout, claimStep time.Duration
}

// worker is what one worker process of nginx has of its own: connections and instances, started
// when they are first needed.
type worker struct {
	host *pluginserver.Host

	mu        sync.Mutex // guards instances and what they hold
	instances map[string]*instance
}

// instance is a running one; or, without an id, the claim of the request that starts it.
type instance struct {
	seq     int64
	id      int32
	started bool // at least once: Kong's reset does not see the others
}

// handle lets the plugin see one event of a request that came to this worker. It follows
// handle_event in Kong's pb_rpc.lua.
func (h *pluginHost) handle(ctx context.Context, w *worker, c *configured, api pluginserver.API) error {
	var err error
	for range maxRetries {
		var id int32
		if id, err = h.instanceID(ctx, w, c); err != nil {
			return err
		}
		if err = h.event(ctx, w, id, api); !errors.Is(err, pluginserver.ErrClosed) || ctx.Err() != nil {
			return err
		}
		h.log.Warn("the plugin server closed the connection: its instances are started again", "plugin", c.name, "error", err)
		h.reset()
	}
	return fmt.Errorf("devgateway: given up after %d tries: %w", maxRetries, err)
}

func (h *pluginHost) event(ctx context.Context, w *worker, id int32, api pluginserver.API) error {
	ctx, cancel := context.WithTimeout(ctx, h.readTimeout)
	defer cancel()
	err := w.host.HandleEvent(ctx, id, "access", api)
	if errors.Is(err, pluginserver.ErrExited) {
		return nil
	}
	return err
}

// instanceID returns the running instance of a configuration, or starts it. It follows
// get_instance_id in Kong's plugin.lua step by step, with what is harsh there: who waits looks
// again after a whole step, and a claim that nobody gives back ends only when somebody has waited
// all steps for it; that request fails, the next one may start the instance.
func (h *pluginHost) instanceID(ctx context.Context, w *worker, c *configured) (int32, error) {
	w.mu.Lock()
	in := w.instances[c.id]
	for step := 1; in != nil && in.id == 0; step++ {
		w.mu.Unlock()
		select {
		case <-time.After(h.claimStep):
		case <-ctx.Done():
			return 0, fmt.Errorf("devgateway: wait for an instance of %s: %w", c.name, ctx.Err())
		}
		w.mu.Lock()
		if step > claimSteps {
			delete(w.instances, c.id)
			w.mu.Unlock()
			return 0, fmt.Errorf("devgateway: Could not claim instance_id for %s (key: %s)", c.name, c.id)
		}
		in = w.instances[c.id]
	}
	if in != nil && in.seq == c.seq {
		defer w.mu.Unlock()
		return in.id, nil
	}
	var old int32
	if in == nil {
		in = &instance{}
		w.instances[c.id] = in
	} else {
		old, in.id = in.id, 0
	}
	w.mu.Unlock()
	return h.start(context.WithoutCancel(ctx), w, c, in, old) // others wait for it, too
}

// start starts the instance that the caller has claimed, in place of old if that is not 0.
func (h *pluginHost) start(ctx context.Context, w *worker, c *configured, in *instance, old int32) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, h.readTimeout)
	defer cancel()
	h.starts.Add(1)
	id, err := w.host.StartInstance(ctx, c.name, c.config)
	if err != nil {
		if !failedSend(err) { // of a send Kong asserts that it works: it comes to nothing that would remove the claim
			w.mu.Lock()
			delete(w.instances, c.id)
			w.mu.Unlock()
		}
		return 0, fmt.Errorf("devgateway: start an instance of %s: %w", c.name, err)
	}
	w.mu.Lock()
	in.id, in.seq, in.started = id, c.seq, true
	w.mu.Unlock()
	if old != 0 {
		if err := w.host.CloseInstance(ctx, old); failedSend(err) {
			return 0, fmt.Errorf("devgateway: close an instance of %s: %w", c.name, err)
		}
	}
	return id, nil
}

// failedSend tells an EPIPE or ECONNRESET of a write from every other end of a call.
func failedSend(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write"
}

// reset forgets the plugin's instances in every worker, as Kong does when the plugin's server has
// died.
func (h *pluginHost) reset() {
	for _, w := range h.workers {
		w.mu.Lock()
		for id, in := range w.instances {
			if in.started {
				delete(w.instances, id)
			}
		}
		w.mu.Unlock()
	}
}
