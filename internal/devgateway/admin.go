package devgateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

// AdminHandler serves the Admin API: services, routes, plugins and consumers by id and by name,
// nested ones, and the plugins' schemas.
func (g *Gateway) AdminHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", serverName)
		status, body, err := g.admin(r)
		var aerr *apiError
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &aerr):
			writeJSON(w, aerr.status, aerr)
		case errors.Is(err, errUnsupportedMedia):
			writeJSON(w, http.StatusUnsupportedMediaType, message("Unsupported media type"))
		case errors.Is(err, errBadJSON):
			writeJSON(w, http.StatusBadRequest, message("Cannot parse JSON body"))
		case errors.As(err, &large):
			writeJSON(w, http.StatusRequestEntityTooLarge, message("Payload too large"))
		case errors.Is(err, errTooManyArgs):
			writeJSON(w, http.StatusBadRequest, message("Too many arguments"))
		case err != nil:
			g.log.Error("the Admin API could not answer", "error", err)
			writeJSON(w, http.StatusBadRequest, message("Bad request"))
		case body == nil:
			w.WriteHeader(status)
		default:
			writeJSON(w, status, body)
		}
	})
}

func message(text string) map[string]any { return map[string]any{"message": text} }

func writeJSON(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"message":"An unexpected error occurred"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw) // a client that has gone needs no answer
}

// admin finds the endpoint by the steps of the path.
func (g *Gateway) admin(r *http.Request) (int, any, error) {
	var steps []string
	for _, s := range strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		if text, err := url.PathUnescape(s); err == nil && text != "" {
			steps = append(steps, text)
		}
	}
	if len(steps) == 0 || len(steps) == 1 && steps[0] == "status" {
		return g.about(r, len(steps) == 0)
	}
	if steps[0] == "schemas" {
		return g.schemaEndpoint(r, steps[1:])
	}
	k := kindOf(steps[0])
	if k == nil || len(steps) > 4 {
		return 0, nil, notFound()
	}
	switch len(steps) {
	case 1:
		return g.collection(r, k, "", nil)
	case 2:
		return g.entity(r, k, steps[1], "", nil)
	}
	owner := g.store.find(k.name, steps[1])
	if owner == nil {
		return 0, nil, notFound()
	}
	if len(steps) == 3 && k.foreign[steps[2]] != "" && r.Method == http.MethodGet { // /routes/{route}/service
		e := g.store.find(k.foreign[steps[2]], foreignID(owner, steps[2]))
		if e == nil {
			return 0, nil, notFound()
		}
		return http.StatusOK, e, nil
	}
	child := kindOf(steps[2])
	field := strings.TrimSuffix(k.name, "s")
	if child == nil || child.foreign[field] == "" {
		return 0, nil, notFound()
	}
	if len(steps) == 3 {
		return g.collection(r, child, field, owner)
	}
	return g.entity(r, child, steps[3], field, owner)
}

// about answers GET / and GET /status.
func (g *Gateway) about(r *http.Request, root bool) (int, any, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return http.StatusMethodNotAllowed, message("Method not allowed"), nil
	}
	if !root {
		return http.StatusOK, map[string]any{"server": map[string]any{"total_requests": g.requests.Load()}}, nil
	}
	available := map[string]any{}
	for _, p := range g.plugins {
		available[p.info.Name] = map[string]any{"version": p.info.Version, "priority": p.info.Priority}
	}
	return http.StatusOK, map[string]any{
		"tagline": "Embedded development gateway: not Kong, but speaks its plugin protocol", "version": protocolOf,
		"edition": "development", "node_id": g.nodeID, "plugins": map[string]any{"available_on_server": available},
	}, nil
}

// schemaEndpoint answers /schemas/plugins/{name}, /schemas/{kind} and POST
// /schemas/plugins/validate.
func (g *Gateway) schemaEndpoint(r *http.Request, steps []string) (int, any, error) {
	if len(steps) == 2 && steps[0] == "plugins" && steps[1] == "validate" && r.Method == http.MethodPost {
		args, err := g.readArgs(r, kindOf("plugins"), "")
		if err != nil {
			return 0, nil, err
		}
		schema := g.store.schema(kindOf("plugins"), args)
		if errs := validate(schema, schema.Complete(args)); len(errs) > 0 {
			return 0, nil, schemaViolation(errs)
		}
		return http.StatusOK, message("schema validation successful"), nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return http.StatusMethodNotAllowed, message("Method not allowed"), nil
	}
	if len(steps) == 2 && steps[0] == "plugins" {
		for _, p := range g.plugins {
			if p.info.Name == steps[1] {
				return http.StatusOK, p.info.Schema, nil
			}
		}
		return http.StatusNotFound, message("No plugin named '" + steps[1] + "'"), nil
	}
	if k := kindOf(strings.Join(steps, "/")); k != nil {
		return http.StatusOK, map[string]any{"fields": json.RawMessage(k.fields)}, nil
	}
	return http.StatusNotFound, message("No entity named '" + strings.Join(steps, "/") + "'"), nil
}

const (
	pageSize    = 100
	maxPageSize = 1000
)

// collection answers a list of entities; with an owner, those that refer to it.
func (g *Gateway) collection(r *http.Request, k *kind, field string, owner map[string]any) (int, any, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		id, _ := owner["id"].(string)
		return g.page(r, g.store.list(k, field, id))
	case http.MethodPost:
		args, err := g.readArgs(r, k, "")
		if err != nil {
			return 0, nil, err
		}
		if owner != nil {
			args[field] = map[string]any{"id": owner["id"]}
		}
		e, err := g.store.insert(k, args)
		return http.StatusCreated, e, err
	}
	return http.StatusMethodNotAllowed, message("Method not allowed"), nil
}

// page cuts a list; the offset is the last id of the page before.
func (g *Gateway) page(r *http.Request, all []map[string]any) (int, any, error) {
	size := pageSize
	if raw := r.URL.Query().Get("size"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxPageSize {
			return 0, nil, &apiError{status: http.StatusBadRequest, Code: 9, Name: "invalid size", Message: "size must be an integer between 1 and 1000"}
		}
		size = n
	}
	after := r.URL.Query().Get("offset")
	for len(all) > 0 && after != "" && all[0]["id"].(string) <= after {
		all = all[1:]
	}
	out := map[string]any{"data": all, "next": nil}
	if len(all) > size {
		last := all[size-1]["id"].(string)
		out["data"], out["offset"] = all[:size], last
		out["next"] = r.URL.Path + "?offset=" + url.QueryEscape(last)
		if size != pageSize {
			out["next"] = out["next"].(string) + "&size=" + strconv.Itoa(size)
		}
	}
	return http.StatusOK, out, nil
}

// entity answers for one entity; with an owner, only if it refers to it.
func (g *Gateway) entity(r *http.Request, k *kind, key, field string, owner map[string]any) (int, any, error) {
	found := g.store.find(k.name, key)
	if owner != nil && r.Method != http.MethodPut && (found == nil || foreignID(found, field) != owner["id"]) {
		return 0, nil, notFound()
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if found == nil {
			return 0, nil, notFound()
		}
		return http.StatusOK, found, nil
	case http.MethodPut:
		args, err := g.readArgs(r, k, "")
		if err != nil {
			return 0, nil, err
		}
		if owner != nil {
			args[field] = map[string]any{"id": owner["id"]}
		}
		e, err := g.store.upsert(k, key, args)
		return http.StatusOK, e, err
	case http.MethodPatch:
		if found == nil {
			return 0, nil, notFound()
		}
		name, _ := found["name"].(string)
		args, err := g.readArgs(r, k, name)
		if err != nil {
			return 0, nil, err
		}
		e, err := g.store.update(k, key, args)
		return http.StatusOK, e, err
	case http.MethodDelete:
		return http.StatusNoContent, nil, g.store.remove(k, key)
	}
	return http.StatusMethodNotAllowed, message("Method not allowed"), nil
}

// readArgs reads a body and gives a form's values the types of the schema; plugin is the name to go
// by where a plugin's body has none.
func (g *Gateway) readArgs(r *http.Request, k *kind, plugin string) (map[string]any, error) {
	args, form, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if !form {
		return args, nil
	}
	named := args
	if args["name"] == nil {
		named = map[string]any{"name": plugin}
	}
	schema := g.store.schema(k, named)
	if typed, ok := infer(args, &kongschema.Field{Type: "record", Fields: schema.Fields}).(map[string]any); ok {
		args = typed
	}
	if raw, ok := args["url"]; ok && raw == "" {
		delete(args, "url")
	}
	return args, nil
}
