package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/kong-openid-connect/openid-connect/pkg/cache"
	"github.com/kong-openid-connect/openid-connect/pkg/pluginserver"
	"github.com/kong-openid-connect/openid-connect/plugin/authn"
	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// Access tells one request's story: read it first. Everything that it calls returns
// a value; only Apply speaks to Kong, and only a Decision to pass lets a request on.
func (i *Instance) Access(ctx context.Context, e *pluginserver.Event) {
	decision := i.decide(ctx, e)
	if err := decision.Apply(e); err != nil {
		// A value that Kong would not take, or Kong is gone: the request must not go on
		// with half of its headers.
		refused := i.refuse(&authn.Refusal{Outcome: authn.Unexpected, Reason: "kong_setter", Cause: err})
		_ = refused.Apply(e) // an exit has no error: where Kong is gone, the server closes the connection
	}
}

// decide never fails: what goes wrong, a panic too, is a Decision that refuses.
func (i *Instance) decide(ctx context.Context, e *pluginserver.Event) (d *kong.Decision) {
	defer func() {
		if v := recover(); v != nil {
			d = i.refuse(&authn.Refusal{Outcome: authn.Unexpected, Reason: "panic", Cause: cache.Recovered(v)})
		}
	}()
	if i.broken != nil {
		return i.refuse(&authn.Refusal{Outcome: authn.Unexpected, Reason: brokenConfiguration, Cause: i.broken})
	}
	request, err := kong.Read(e)
	if err != nil {
		return i.refuse(readRefusal(err))
	}
	if name, named := i.headers.namedByConnection(request); named {
		return i.refuse(&authn.Refusal{
			Outcome: authn.BadRequest, Reason: "connection_header", Cause: fmt.Errorf("the Connection header names %.64q", name),
			Code: "invalid_request", Description: "the Connection header names a header that the gateway writes",
		})
	}
	if !i.cfg.RunOnPreflight {
		method, err := request.Method()
		if err != nil {
			return i.refuse(authn.AsRefusal(err))
		}
		if method == http.MethodOptions {
			return i.headers.preflight(request)
		}
	}

	method, credential, err := i.methods.Find(request)
	if err != nil {
		return i.refuse(authn.AsRefusal(err))
	}
	if credential == nil {
		return i.refuse(&authn.Refusal{Outcome: authn.Unauthorized, Reason: "no_credentials", Cause: request.BodySkipped()})
	}
	result, err := method.Authenticate(ctx, credential)
	if err != nil {
		return i.refuse(authn.AsRefusal(err))
	}
	if refusal := i.policy.Check(result); refusal != nil {
		return i.refuse(refusal)
	}
	if i.login != nil {
		return i.login.respond(result, i.plugin.env.Now())
	}
	decision, err := i.headers.pass(request, credential, result)
	if err != nil {
		return i.refuse(authn.AsRefusal(err))
	}
	return decision
}

// refuse turns a refusal into the answer to the client and the lines in the logs,
// tied together by an id.
func (i *Instance) refuse(r *authn.Refusal) *kong.Decision {
	id := newErrorID()
	line := i.plugin.log.refused(i, r, id)
	return &kong.Decision{Exit: i.render.exit(r, id), LogError: line}
}

// brokenConfiguration is the reason of refusals that only a change of the
// configuration ends.
const brokenConfiguration = "broken_configuration"

func readRefusal(err error) *authn.Refusal {
	if errors.Is(err, kong.ErrTooManyHeaders) {
		return &authn.Refusal{
			Outcome: authn.BadRequest, Reason: "too_many_headers", Cause: err,
			Code: "invalid_request", Description: "the request has too many headers",
		}
	}
	return authn.AsRefusal(err)
}
