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
		refused := i.refuse(e, &authn.Refusal{Status: authn.Unexpected, Reason: "kong_setter", Cause: err})
		_ = refused.Apply(e) // an exit has no error: where Kong is gone, the server closes the connection
	}
}

// decide never fails: what goes wrong, a panic too, is a Decision that refuses.
func (i *Instance) decide(ctx context.Context, e *pluginserver.Event) (d *kong.Decision) {
	defer func() {
		if v := recover(); v != nil {
			d = i.refuse(e, &authn.Refusal{Status: authn.Unexpected, Reason: "panic", Cause: cache.Recovered(v)})
		}
	}()
	if i.broken != nil {
		return i.refuse(e, &authn.Refusal{Status: authn.Unexpected, Reason: brokenConfiguration, Cause: i.broken})
	}
	request, err := kong.Read(e)
	if err != nil {
		return i.refuse(e, readRefusal(err))
	}
	if name, named := i.headers.namedByConnection(request); named {
		return i.refuse(e, &authn.Refusal{
			Status: authn.BadRequest, Reason: "connection_header", Cause: fmt.Errorf("the Connection header names %.64q", name),
			Code: "invalid_request", Description: "the Connection header names a header that the gateway writes",
		})
	}
	if !i.cfg.RunOnPreflight {
		method, err := request.Method()
		if err != nil {
			return i.refuse(e, authn.AsRefusal(err))
		}
		if method == http.MethodOptions {
			return i.headers.preflight(request)
		}
	}

	attempt, outcome, err := i.methods.Authenticate(ctx, request)
	switch {
	case err != nil:
		return i.refuse(e, authn.AsRefusal(err))
	case attempt == nil:
		return i.refuse(e, &authn.Refusal{Status: authn.Unauthorized, Reason: "no_credentials", Cause: request.BodySkipped()})
	case outcome.Answer != nil:
		return &kong.Decision{Exit: outcome.Answer, Cookies: outcome.Cookies}
	}
	result := outcome.Result
	if refusal := i.policy.Check(result); refusal != nil {
		return i.refuse(e, refusal)
	}
	if i.login.answers(result) {
		return &kong.Decision{Exit: i.login.answer(result, i.plugin.env.Now()), Cookies: outcome.Cookies}
	}
	decision, err := i.headers.pass(request, result)
	if err != nil {
		return i.refuse(e, authn.AsRefusal(err))
	}
	if i.cfg.HideCredentials {
		attempt.Hide(decision)
	}
	decision.Cookies = outcome.Cookies
	return decision
}

// refuse turns a refusal into the answer to the client and the lines in the logs, tied together by
// an id.
func (i *Instance) refuse(e *pluginserver.Event, r *authn.Refusal) *kong.Decision {
	id := newErrorID()
	line := i.plugin.log.refused(refusedRequest{Refusal: r, instance: i, event: e, id: id})
	return &kong.Decision{Exit: i.render.exit(r, id, i.plugin.env.Now()), LogError: line}
}

// brokenConfiguration is the reason of refusals that only a change of the
// configuration ends.
const brokenConfiguration = "broken_configuration"

func readRefusal(err error) *authn.Refusal {
	if errors.Is(err, kong.ErrTooManyHeaders) {
		return &authn.Refusal{
			Status: authn.BadRequest, Reason: "too_many_headers", Cause: err,
			Code: "invalid_request", Description: "the request has too many headers",
		}
	}
	return authn.AsRefusal(err)
}
