package devgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
)

const (
	claimWait  = 10 * time.Second // how long a request waits for an instance that another one starts
	maxRetries = 100              // Kong has no bound: 10,500 in 1.7 s were seen
)

// configured is one plugin of the Admin API as Kong's plugins iterator holds it: its configuration with the members that Kong adds. It is
// made anew, with another seq, whenever any plugin changes.
type configured struct {
	id, name string
	seq      int64
	config   []byte // the JSON of StartInstance

	route, service string // what it is bound to, "" = all
}

// newConfigured builds what Kong's get_plugin_config builds.
func newConfigured(e map[string]any, seq int64) (*configured, error) {
	c := &configured{seq: seq, route: foreignID(e, "route"), service: foreignID(e, "service")}
	c.id, _ = e["id"].(string)
	c.name, _ = e["name"].(string)
	config, _ := withoutNulls(e["config"]).(map[string]any)
	if config == nil {
		config = map[string]any{}
	}
	// These four carry no underscores in Kong, too: a plugin with strict eyes has to know them.
	for member, v := range map[string]string{"route_id": c.route, "service_id": c.service, "consumer_id": foreignID(e, "consumer")} {
		if v != "" {
			config[member] = v
		}
	}
	if name, ok := e["instance_name"].(string); ok {
		config["plugin_instance_name"] = name
	}
	config["__plugin_id"] = c.id
	config["__ws_id"] = workspaceID
	config["__key__"] = fmt.Sprintf("plugins:%s:%s:%s:%s::%s", c.name, c.route, c.service, foreignID(e, "consumer"), workspaceID)
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

// pluginHost is Kong's side of one plugin server: its instances, started when they are first needed.
type pluginHost struct {
	info   pluginserver.Info
	host   *pluginserver.Host
	socket string
	log    *slog.Logger
	starts atomic.Int64 // StartInstance calls, for tests and the curious

	readTimeout time.Duration

	mu        sync.Mutex // guards instances
	instances map[string]*instance
}

// instance is a running one, or one that a request is starting: then ready is open.
type instance struct {
	seq   int64
	id    int32
	ready chan struct{}
	err   error
}

// handle lets the plugin see one event of a request.
func (h *pluginHost) handle(ctx context.Context, c *configured, api pluginserver.API) error {
	var err error
	for range maxRetries {
		var id int32
		if id, err = h.instanceID(ctx, c); err != nil {
			return err
		}
		if err = h.event(ctx, id, api); !errors.Is(err, pluginserver.ErrClosed) || ctx.Err() != nil {
			return err
		}
		h.log.Warn("the plugin server closed the connection: its instances are started again", "plugin", c.name, "error", err)
		h.reset()
	}
	return fmt.Errorf("devgateway: given up after %d tries: %w", maxRetries, err)
}

func (h *pluginHost) event(ctx context.Context, id int32, api pluginserver.API) error {
	ctx, cancel := context.WithTimeout(ctx, h.readTimeout)
	defer cancel()
	err := h.host.HandleEvent(ctx, id, "access", api)
	if errors.Is(err, pluginserver.ErrExited) {
		return nil
	}
	return err
}

// instanceID returns the running instance of a configuration, or starts it; who comes meanwhile waits.
func (h *pluginHost) instanceID(ctx context.Context, c *configured) (int32, error) {
	deadline := time.NewTimer(claimWait)
	defer deadline.Stop()
	for {
		h.mu.Lock()
		in := h.instances[c.id]
		if in == nil || in.started() && in.seq < c.seq {
			return h.start(ctx, c, in) // gives the lock back
		}
		h.mu.Unlock()
		select {
		case <-in.ready:
			if in.err != nil {
				continue // the one who tried has removed its claim: somebody else may have more luck
			}
			if in.seq >= c.seq {
				return in.id, nil
			}
		case <-deadline.C:
			return 0, fmt.Errorf("devgateway: could not claim an instance of %s", c.name)
		case <-ctx.Done():
			return 0, fmt.Errorf("devgateway: wait for an instance of %s: %w", c.name, ctx.Err())
		}
	}
}

func (in *instance) started() bool {
	select {
	case <-in.ready:
		return true
	default:
		return false
	}
}

// start claims the place of old and starts the instance; the caller holds the lock, which is given back.
func (h *pluginHost) start(ctx context.Context, c *configured, old *instance) (int32, error) {
	in := &instance{seq: c.seq, ready: make(chan struct{})}
	h.instances[c.id] = in
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.readTimeout) // others wait for it, too
	defer cancel()
	h.starts.Add(1)
	in.id, in.err = h.host.StartInstance(ctx, c.name, c.config)
	if in.err != nil {
		h.mu.Lock()
		if h.instances[c.id] == in {
			delete(h.instances, c.id)
		}
		h.mu.Unlock()
		close(in.ready)
		return 0, fmt.Errorf("devgateway: start an instance of %s: %w", c.name, in.err)
	}
	close(in.ready)
	if old != nil && old.err == nil {
		if err := h.host.CloseInstance(ctx, old.id); err != nil {
			h.log.Warn("an instance that was replaced could not be closed", "plugin", c.name, "error", err)
		}
	}
	return in.id, nil
}

// reset forgets all instances of the plugin, as Kong does when its server has died.
func (h *pluginHost) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, in := range h.instances {
		if in.started() {
			delete(h.instances, id)
		}
	}
}
