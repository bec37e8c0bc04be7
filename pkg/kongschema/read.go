package kongschema

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/kong-openid-connect/openid-connect/pkg/strictjson"
)

// Bounds of what ReadJSON takes. No document of the size can have more members.
const (
	maxSize  = 4 << 20
	maxDepth = 32
)

// ReadJSON reads one JSON value strictly (package strictjson), at most 32 levels deep and 4 MiB
// long. Objects are map[string]any, lists []any, numbers float64. Its errors say where the JSON
// breaks and not what stands there: it may be a secret.
func ReadJSON(raw []byte) (any, error) {
	if len(raw) > maxSize {
		return nil, fmt.Errorf("longer than %d bytes", maxSize)
	}
	v, err := strictjson.Value(string(raw), strictjson.Options{Depth: maxDepth, Members: maxSize, Floats: true})
	var at *strictjson.Error
	switch {
	case err == nil:
		return v, nil
	case errors.Is(err, strictjson.ErrTooMuch):
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	case !errors.As(err, &at), errors.Is(err, strictjson.ErrUTF8), errors.Is(err, strictjson.ErrTrailing):
		return nil, err
	case errors.Is(err, strictjson.ErrDuplicate):
		return nil, fmt.Errorf("%.100s: given twice", strings.Join(at.Path, "."))
	case at.Offset == len(raw):
		return nil, errors.New("not JSON: it ends too early")
	}
	return nil, fmt.Errorf("not JSON at byte %d", at.Offset)
}

// Join is the path of a member: "redis" and "port" give "redis.port".
func Join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// Assign sets the Go struct that into points to from a value that Validate has accepted. The schema
// must come from Of with that struct's type. What does not fit is a FieldError: an integer that
// Kong takes and Go has no room for.
func (f *Field) Assign(v map[string]any, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return errors.New("kongschema: Assign needs a pointer to a struct")
	}
	if err := f.assign(v, target.Elem()); err != nil {
		return fmt.Errorf("kongschema: %w", err)
	}
	return nil
}

func (f *Field) assign(v any, to reflect.Value) error {
	if v == nil {
		to.SetZero()
		return nil
	}
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		return f.assign(v, to.Elem())
	}
	switch v := v.(type) {
	case string:
		if to.Kind() == reflect.String {
			to.SetString(v)
			return nil
		}
	case bool:
		if to.Kind() == reflect.Bool {
			to.SetBool(v)
			return nil
		}
	case float64:
		switch to.Kind() {
		case reflect.Float64:
			to.SetFloat(v)
			return nil
		case reflect.Int, reflect.Int64:
			if v != float64(int64(v)) {
				return FieldError{Message: "out of range"}
			}
			to.SetInt(int64(v))
			return nil
		}
	case []any:
		if to.Kind() == reflect.Slice {
			return f.assignList(v, to)
		}
		if len(v) == 0 {
			return f.assign(map[string]any{}, to)
		}
	case map[string]any:
		switch to.Kind() {
		case reflect.Struct:
			return f.assignRecord(v, to)
		case reflect.Map:
			return f.assignMap(v, to)
		case reflect.Slice:
			if len(v) == 0 {
				return f.assignList(nil, to)
			}
		}
	}
	return FieldError{Message: "a value of another type"}
}

func (f *Field) assignList(list []any, to reflect.Value) error {
	to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
	for i, v := range list {
		if err := f.Elements.assign(v, to.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Field) assignRecord(v map[string]any, to reflect.Value) error {
	for _, sub := range f.Fields {
		err := sub.assign(v[sub.Name], to.FieldByIndex(sub.index))
		var at FieldError
		if errors.As(err, &at) {
			at.Field = Join(sub.Name, at.Field)
			return at
		}
	}
	return nil
}

func (f *Field) assignMap(v map[string]any, to reflect.Value) error {
	to.Set(reflect.MakeMapWithSize(to.Type(), len(v)))
	for name, value := range v {
		elem := reflect.New(to.Type().Elem()).Elem()
		if err := f.Values.assign(value, elem); err != nil {
			return err
		}
		to.SetMapIndex(reflect.ValueOf(name).Convert(to.Type().Key()), elem)
	}
	return nil
}

// Encode is the reverse of Assign: the value of a struct (or a pointer to one) in the form of
// encoding/json, with null for nil pointers, nil slices and empty strings. It reveals secrets:
// never log its result.
func (f *Field) Encode(from any) map[string]any {
	v, _ := f.encode(reflect.Indirect(reflect.ValueOf(from))).(map[string]any)
	return v
}

func (f *Field) encode(from reflect.Value) any {
	switch from.Kind() {
	case reflect.Pointer:
		if from.IsNil() {
			return nil
		}
		return f.encode(from.Elem())
	case reflect.String:
		if from.Len() == 0 {
			return nil
		}
		return strings.Clone(from.String())
	case reflect.Bool:
		return from.Bool()
	case reflect.Int, reflect.Int64:
		return float64(from.Int())
	case reflect.Float64:
		return from.Float()
	case reflect.Slice:
		if from.IsNil() {
			return nil
		}
		list := make([]any, from.Len())
		for i := range list {
			list[i] = f.Elements.encode(from.Index(i))
		}
		return list
	case reflect.Map:
		if from.IsNil() {
			return nil
		}
		object := make(map[string]any, from.Len())
		for it := from.MapRange(); it.Next(); {
			object[it.Key().String()] = f.Values.encode(it.Value())
		}
		return object
	case reflect.Struct:
		object := make(map[string]any, len(f.Fields))
		for _, sub := range f.Fields {
			object[sub.Name] = sub.encode(from.FieldByIndex(sub.index))
		}
		return object
	}
	return nil
}
