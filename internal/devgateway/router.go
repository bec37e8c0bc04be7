package devgateway

import (
	"net"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// router finds the route of a request. It is built from the entities whenever one of them changes,
// and never changed afterwards.
type router struct {
	candidates []*compiledRoute // the more demanding first
}

// compiledRoute is one path of a route (a route without paths has one that fits all) with its
// service.
type compiledRoute struct {
	entity, service map[string]any

	protocols, methods, hosts []string
	headers                   map[string][]string
	path                      string // "" = any
	regex                     *regexp.Regexp
	regexPriority             float64
	stripPath, preserveHost   bool
	demands                   int // how many of hosts, methods, headers, paths are given
	plainHosts                bool
}

func newRouter(routes, services map[string]map[string]any) *router {
	r := &router{}
	for _, id := range sortedKeys(routes) {
		e := routes[id]
		base := compiledRoute{
			entity: e, service: services[foreignID(e, "service")],
			protocols: strs(e["protocols"]), methods: strs(e["methods"]), hosts: strs(e["hosts"]),
			headers: map[string][]string{}, plainHosts: true,
		}
		base.stripPath, _ = e["strip_path"].(bool)
		base.preserveHost, _ = e["preserve_host"].(bool)
		base.regexPriority, _ = e["regex_priority"].(float64)
		wanted, _ := e["headers"].(map[string]any)
		for name, values := range wanted {
			base.headers[name] = strs(values)
		}
		paths := strs(e["paths"])
		for _, given := range []bool{len(base.hosts) > 0, len(base.methods) > 0, len(base.headers) > 0, len(paths) > 0} {
			if given {
				base.demands++
			}
		}
		for _, h := range base.hosts {
			base.plainHosts = base.plainHosts && !strings.Contains(h, "*")
		}
		if len(paths) == 0 {
			paths = []string{""}
		}
		for _, p := range paths {
			c := base
			c.path = p
			if expr, ok := strings.CutPrefix(p, "~"); ok {
				re, err := regexp.Compile("^(?:" + expr + ")")
				if err != nil {
					continue // the Admin API has refused it already
				}
				c.regex = re
			}
			r.candidates = append(r.candidates, &c)
		}
	}
	sort.SliceStable(r.candidates, func(i, j int) bool { return before(r.candidates[i], r.candidates[j]) })
	return r
}

// before orders as Kong's router does: more demands, hosts without a wildcard, regexes by their
// priority, longer paths, older routes.
func before(a, b *compiledRoute) bool {
	switch {
	case a.demands != b.demands:
		return a.demands > b.demands
	case a.plainHosts != b.plainHosts:
		return a.plainHosts
	case (a.regex != nil) != (b.regex != nil):
		return a.regex != nil
	case a.regex != nil && a.regexPriority != b.regexPriority:
		return a.regexPriority > b.regexPriority
	case len(a.path) != len(b.path):
		return len(a.path) > len(b.path)
	}
	at, _ := a.entity["created_at"].(float64)
	bt, _ := b.entity["created_at"].(float64)
	return at < bt
}

// match returns the route of a request and what of the path it matched, or nil.
func (r *router) match(req *http.Request, path string) (*compiledRoute, string) {
	host := strings.ToLower(req.Host)
	bare := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		bare = h
	}
	for _, c := range r.candidates {
		if len(c.methods) > 0 && !slices.Contains(c.methods, req.Method) {
			continue
		}
		if len(c.hosts) > 0 && !slices.ContainsFunc(c.hosts, func(h string) bool { return hostFits(h, host) || hostFits(h, bare) }) {
			continue
		}
		if !headersFit(c.headers, req.Header) {
			continue
		}
		if matched, ok := c.pathFits(path); ok {
			return c, matched
		}
	}
	return nil, ""
}

func (c *compiledRoute) pathFits(path string) (string, bool) {
	if c.regex != nil {
		loc := c.regex.FindStringIndex(path)
		if loc == nil {
			return "", false
		}
		return path[:loc[1]], true
	}
	return c.path, strings.HasPrefix(path, c.path)
}

func hostFits(pattern, host string) bool {
	pattern = strings.ToLower(pattern)
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, rest) && len(host) > len(rest)
	}
	if rest, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(host, rest) && len(host) > len(rest)
	}
	return pattern == host
}

func headersFit(wanted map[string][]string, h http.Header) bool {
	for name, values := range wanted {
		if !slices.ContainsFunc(h.Values(name), func(v string) bool {
			return slices.ContainsFunc(values, func(w string) bool { return strings.EqualFold(w, v) })
		}) {
			return false
		}
	}
	return true
}

// upstreamPath joins the service's path and what is left of the request's (path_handling v0).
func (c *compiledRoute) upstreamPath(matched, path string) string {
	base, _ := c.service["path"].(string)
	if base == "" {
		base = "/"
	}
	rest := path
	if c.stripPath {
		rest = path[len(matched):]
	}
	switch {
	case rest == "" || rest == "/" && !c.stripPath:
		if len(path) > 1 && strings.HasSuffix(path, "/") {
			return strings.TrimSuffix(base, "/") + "/"
		}
		if base == "/" {
			return base
		}
		return strings.TrimSuffix(base, "/")
	case strings.HasPrefix(rest, "/") || strings.HasSuffix(base, "/"):
		return strings.TrimSuffix(base, "/") + "/" + strings.TrimPrefix(rest, "/")
	}
	return base + "/" + rest
}

func strs(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
