package devgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
)

const (
	maxAdminBody = 4 << 20
	maxFormArgs  = 1000 // as Kong's Admin API
	maxFormDepth = 32
)

var (
	errUnsupportedMedia = errors.New("devgateway: unsupported media type")
	errBadJSON          = errors.New("devgateway: the body is not a JSON object")
	errTooManyArgs      = errors.New("devgateway: too many arguments")
)

// readBody reads the body of an Admin API request as Kong does: JSON as it is, forms as nested
// arguments whose values are still strings. form says that infer has to give them the types of the
// schema.
func readBody(r *http.Request) (args map[string]any, form bool, err error) {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		if r.ContentLength == 0 {
			return map[string]any{}, false, nil
		}
		return nil, false, errUnsupportedMedia
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, false, errUnsupportedMedia
	}
	body := http.MaxBytesReader(nil, r.Body, maxAdminBody)
	switch media {
	case "application/json":
		raw, err := io.ReadAll(body)
		if err != nil {
			return nil, false, fmt.Errorf("devgateway: read the body: %w", err)
		}
		if err := json.Unmarshal(raw, &args); err != nil || args == nil {
			return nil, false, errBadJSON
		}
		return args, false, nil
	case "application/x-www-form-urlencoded":
		raw, err := io.ReadAll(body)
		if err != nil {
			return nil, false, fmt.Errorf("devgateway: read the body: %w", err)
		}
		list, more := parseArgs(string(raw), maxFormArgs)
		if more {
			return nil, false, errTooManyArgs
		}
		args, err := nestArgs(list)
		return args, true, err
	case "multipart/form-data":
		list, err := readMultipart(multipart.NewReader(body, params["boundary"]))
		if err != nil {
			return nil, false, err
		}
		args, err := nestArgs(list)
		return args, true, err
	}
	return nil, false, errUnsupportedMedia
}

func readMultipart(parts *multipart.Reader) ([]argument, error) {
	var list []argument
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("devgateway: read a part of the form: %w", err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, fmt.Errorf("devgateway: read a part of the form: %w", err)
		}
		if list = append(list, argument{name: part.FormName(), value: string(value)}); len(list) > maxFormArgs {
			return nil, errTooManyArgs
		}
	}
}

// sparse is a list under construction: a[2]=x may come before a[1]=y.
type sparse map[int]any

// nestArgs turns arguments such as config.redis.host=h, a[]=x, a[2]=y and a[k]=v into the tables
// they stand for. A name given several times is a list.
func nestArgs(list []argument) (map[string]any, error) {
	root := map[string]any{}
	grouped := queryValues(list)
	for _, name := range sortedKeys(grouped) {
		path := splitName(name)
		if len(path) > maxFormDepth {
			return nil, fmt.Errorf("devgateway: the argument %.40q is nested deeper than %d", name, maxFormDepth)
		}
		if strings.HasPrefix(path[0], "[") {
			root[name] = grouped[name] // the first step is a name, whatever it looks like
			continue
		}
		insertArg(root, path, grouped[name])
	}
	out, _ := settle(root).(map[string]any)
	return out, nil
}

var bracketed = regexp.MustCompile(`\[[^\]]*\]`)

// splitName cuts a name into its steps: at dots outside of brackets, and at brackets. An empty or
// numeric step in brackets is a place in a list.
func splitName(name string) []string {
	if name == "" || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var steps []string
	rest := name
	for rest != "" {
		end := strings.IndexAny(rest[1:], ".[")
		if end < 0 {
			return append(steps, rest)
		}
		if rest[0] != '[' || len(steps) == 0 {
			steps, rest = append(steps, rest[:end+1]), rest[end+1:]
		}
		for loc := bracketed.FindStringIndex(rest); loc != nil && loc[0] == 0; loc = bracketed.FindStringIndex(rest) {
			steps, rest = append(steps, rest[:loc[1]]), rest[loc[1]:]
		}
		if strings.HasPrefix(rest, "[") { // a bracket that nobody closes is part of the name
			return append(steps, rest)
		}
		rest = strings.TrimPrefix(rest, ".")
	}
	return steps
}

// place reads a step in brackets: its position (0 = at the end), or the name of a member.
func place(step string) (position int, member string, isList bool) {
	if !strings.HasPrefix(step, "[") || !strings.HasSuffix(step, "]") {
		return 0, step, false
	}
	inner := step[1 : len(step)-1]
	if inner == "" {
		return 0, "", true
	}
	if n, err := strconv.Atoi(inner); err == nil && n > 0 && n <= maxFormArgs {
		return n, "", true
	}
	return 0, inner, false
}

func insertArg(into any, path []string, value any) any {
	position, member, isList := place(path[0])
	last := len(path) == 1
	if !isList {
		table, ok := into.(map[string]any)
		if !ok {
			table = map[string]any{}
		}
		if last {
			table[member] = value
		} else {
			table[member] = insertArg(table[member], path[1:], value)
		}
		return table
	}
	list, ok := into.(sparse)
	if !ok {
		list = sparse{}
	}
	if values, many := value.([]any); last && many && position == 0 { // a[]=x&a[]=y
		for _, v := range values {
			list[len(list)+1] = v
		}
		return list
	}
	if position == 0 {
		position = len(list) + 1
		if !last { // a[].k=v: Kong puts all of them into the first
			position = 1
		}
	}
	if last {
		list[position] = value
	} else {
		list[position] = insertArg(list[position], path[1:], value)
	}
	return list
}

// settle turns sparse lists into lists.
func settle(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = settle(e)
		}
	case sparse:
		var positions []int
		for p := range v {
			positions = append(positions, p)
		}
		slices.Sort(positions)
		out := []any{}
		for _, p := range positions {
			out = append(out, settle(v[p]))
		}
		return out
	}
	return v
}

// infer gives the strings of a form the types of the schema: "" is null, a single value for a list
// is a list of one; what does not fit stays as it is, so that the validation can say so.
func infer(v any, f *kongschema.Field) any {
	if v == "" || v == nil {
		return nil
	}
	switch f.Type {
	case "number", "integer":
		if s, ok := v.(string); ok {
			if n, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && n-n == 0 {
				return n
			}
		}
	case "boolean":
		switch v {
		case "true":
			return true
		case "false":
			return false
		}
	case "array", "set":
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for i := range list {
			if f.Elements != nil {
				list[i] = infer(list[i], f.Elements)
			}
		}
		return list
	case "map":
		if table, ok := v.(map[string]any); ok && f.Values != nil {
			for k, e := range table {
				table[k] = infer(e, f.Values)
			}
		}
	case "record":
		if table, ok := v.(map[string]any); ok {
			for _, member := range f.Fields {
				if e, given := table[member.Name]; given {
					table[member.Name] = infer(e, member)
				}
			}
		}
	}
	return v
}
