package devgateway

import (
	"fmt"
	"net/http"
	"strings"
)

// apiError is an answer of the Admin API that refuses, in Kong's shape.
type apiError struct {
	status  int
	Code    int            `json:"code,omitempty"`
	Name    string         `json:"name,omitempty"`
	Message string         `json:"message"`
	Fields  map[string]any `json:"fields,omitempty"`
}

func (e *apiError) Error() string { return "devgateway: " + e.Message }

func notFound() *apiError { return &apiError{status: http.StatusNotFound, Message: "Not found"} }

// schemaViolation tells what the schema refuses; fields is Kong's error tree.
func schemaViolation(fields map[string]any) *apiError {
	var parts []string
	if entity, ok := fields["@entity"].([]any); ok {
		for _, e := range entity {
			parts = append(parts, fmt.Sprint(e))
		}
	}
	for _, name := range sortedKeys(fields) {
		table, nested := fields[name].(map[string]any)
		switch {
		case name == "@entity":
		case nested:
			for _, sub := range sortedKeys(table) {
				parts = append(parts, name+"."+sub+": "+luaText(table[sub]))
			}
		default:
			parts = append(parts, name+": "+luaText(fields[name]))
		}
	}
	message := fmt.Sprintf("%d schema violations (%s)", len(parts), strings.Join(parts, "; "))
	if len(parts) == 1 {
		message = "schema violation (" + parts[0] + ")"
	}
	return &apiError{status: http.StatusBadRequest, Code: 2, Name: "schema violation", Message: message, Fields: fields}
}

func primaryKeyViolation(id string) *apiError {
	key := map[string]any{"id": id}
	return &apiError{
		status: http.StatusBadRequest, Code: 3, Name: "primary key violation",
		Message: "primary key violation on key '" + luaLine(key) + "'", Fields: key,
	}
}

func uniqueViolation(key map[string]any) *apiError {
	return &apiError{
		status: http.StatusConflict, Code: 5, Name: "unique constraint violation",
		Message: "UNIQUE violation detected on '" + luaLine(key) + "'", Fields: key,
	}
}

func invalidReference(field string, key map[string]any, parent string) *apiError {
	return &apiError{
		status: http.StatusBadRequest, Code: 4, Name: "foreign key violation",
		Message: fmt.Sprintf("the foreign key '%s' does not reference an existing '%s' entity.", luaLine(key), parent),
		Fields:  map[string]any{field: key},
	}
}

func stillReferenced(parent, child string) *apiError {
	return &apiError{
		status: http.StatusBadRequest, Code: 4, Name: "foreign key violation",
		Message: fmt.Sprintf("an existing '%s' entity references this '%s' entity", child, parent),
		Fields:  map[string]any{"@referenced_by": child},
	}
}

// unresolved tells that a foreign key given by name leads nowhere.
func unresolved(field, name, value, parent string) *apiError {
	text := fmt.Sprintf("the foreign key cannot be resolved with '%s' for an existing '%s' entity", luaLine(map[string]any{name: value}), parent)
	return &apiError{
		status: http.StatusBadRequest, Code: 13, Name: "foreign keys unresolved",
		Message: fmt.Sprintf("foreign key unresolved (%s.%s: %s)", field, name, text),
		Fields:  map[string]any{field: map[string]any{name: text}},
	}
}

// luaLine prints a table on one line, as Kong prints keys in messages.
func luaLine(v any) string { return luaPrint(v, "", "") }

// luaText prints an error: text as it is, a table over several lines.
func luaText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return luaPrint(v, "", "  ")
}

func luaPrint(v any, indent, step string) string {
	var parts []string
	equals := "="
	if step != "" {
		equals = " = "
	}
	inner := indent + step
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return `"` + strings.ReplaceAll(v, `"`, `\"`) + `"`
	case map[string]any:
		for _, k := range sortedKeys(v) {
			parts = append(parts, k+equals+luaPrint(v[k], inner, step))
		}
	case []any:
		for _, e := range v {
			parts = append(parts, luaPrint(e, inner, step))
		}
	default:
		return fmt.Sprint(v)
	}
	if step == "" || len(parts) == 0 {
		return "{" + strings.Join(parts, ",") + "}"
	}
	return "{\n" + inner + strings.Join(parts, ",\n"+inner) + "\n" + indent + "}"
}
