package authn

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kong-openid-connect/openid-connect/plugin/kong"
)

// scripted is a method whose request always has what it says.
type scripted struct {
	finds     bool
	findErr   error
	outcome   Outcome
	authErr   error
	asked     int
	kongHides int
}

func (s *scripted) Scheme() string { return "" }

func (s *scripted) Find(*kong.Request) (Attempt, error) {
	if !s.finds {
		return nil, s.findErr
	}
	return s, s.findErr
}

func (s *scripted) Authenticate(context.Context) (Outcome, error) {
	s.asked++
	return s.outcome, s.authErr
}

func (s *scripted) Hide(*kong.Decision) { s.kongHides++ }

// TestMethodsInTurn: the first credential decides, unless its method says that it may be
// another's; where no other method knows it, its refusal stands.
func TestMethodsInTurn(t *testing.T) {
	refusal := &Refusal{Status: Unauthorized, Reason: "invalid_grant"}
	notMine := &scripted{finds: true, authErr: fmt.Errorf("%w: %w", ErrNotMine, refusal)}
	good := &scripted{finds: true, outcome: Outcome{Result: &Result{AccessToken: "good"}}}
	bad := &scripted{finds: true, authErr: &Refusal{Status: Forbidden, Reason: "bad"}}
	broken := &scripted{findErr: errors.New("Kong has gone")}
	none := &scripted{}
	for _, c := range []struct {
		name   string
		list   []*scripted
		token  string
		reason string // of the refusal; "" if there is none
		found  bool
	}{
		{name: "nothing", list: []*scripted{none}},
		{name: "the first that finds", list: []*scripted{none, good, bad}, token: "good", found: true},
		{name: "a refusal is final", list: []*scripted{bad, good}, reason: "bad", found: true},
		{name: "not mine", list: []*scripted{notMine, none, good}, token: "good", found: true},
		{name: "nobody's", list: []*scripted{notMine, none}, reason: "invalid_grant"},
		{name: "not mine, then refused", list: []*scripted{notMine, bad}, reason: "bad", found: true},
		{name: "Kong fails", list: []*scripted{broken, good}, reason: "internal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &Methods{}
			for _, s := range c.list {
				m.list = append(m.list, s)
			}
			attempt, outcome, err := m.Authenticate(t.Context(), nil)
			reason, token := "", ""
			if err != nil {
				reason = AsRefusal(err).Reason
			}
			if outcome.Result != nil {
				token = outcome.Result.AccessToken
			}
			if (attempt != nil) != c.found || token != c.token || reason != c.reason {
				t.Errorf("found %v, token %q, reason %q", attempt != nil, token, reason)
			}
		})
	}
}
