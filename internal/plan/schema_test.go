package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const schemaFile = "../../docs/plan.schema.json"

// A schemer writes the JSON schema of Go types. Descriptions are the comments
// of their fields.
type schemer struct {
	docs map[string]string // by "Type.Field"
	defs map[string]any
}

// comments reads the comments of fields.
func comments(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, file := range []string{"plan.go", "save.go", "diff.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range st.Fields.List {
					for _, name := range field.Names {
						docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()+field.Comment.Text()), " ")
					}
				}
			}
			return true
		})
	}
	return docs
}

func (s *schemer) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t.Kind() == reflect.String:
		return map[string]any{"type": "string"}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return map[string]any{"type": "integer"}
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	}
	if _, ok := s.defs[t.Name()]; !ok {
		s.defs[t.Name()] = nil // it may hold itself
		s.defs[t.Name()] = s.object(t)
	}
	return map[string]any{"$ref": "#/$defs/" + t.Name()}
}

func (s *schemer) object(t reflect.Type) map[string]any {
	props := map[string]any{}
	required := []string{}
	s.fields(t, props, &required)
	slices.Sort(required)
	return map[string]any{"type": "object", "properties": props, "required": required}
}

func (s *schemer) fields(t reflect.Type, props map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			s.fields(f.Type, props, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		p := s.of(f.Type)
		if doc := s.docs[t.Name()+"."+f.Name]; doc != "" {
			p["description"] = doc
		}
		props[name] = p
		if options != "omitempty" {
			*required = append(*required, name)
		}
	}
}

// The schema in the documentation is that of the types. It changes with
// Version only, or by what is added.
func TestSchema(t *testing.T) {
	s := &schemer{docs: comments(t), defs: map[string]any{}}
	plan, changes := s.of(reflect.TypeFor[Plan]()), s.of(reflect.TypeFor[Changes]())
	for name, kind := range map[string]string{"Plan": Kind, "Changes": DiffKind} {
		props := s.defs[name].(map[string]any)["properties"].(map[string]any)
		props["version"] = map[string]any{"const": Version}
		props["kind"] = map[string]any{"const": kind}
	}
	got := encoded(t, map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   fmt.Sprintf("kiln plan --json, version %d", Version),
		"oneOf":   []any{plan, changes},
		"$defs":   s.defs,
	})
	if os.Getenv("KILN_UPDATE") != "" {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s is not that of the types; KILN_UPDATE=1 writes it", schemaFile)
	}
}

// A validator checks JSON against the few words of JSON schema that are used.
type validator struct{ root map[string]any }

func (v validator) check(at string, schema map[string]any, value any) error {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		return v.check(at, v.root["$defs"].(map[string]any)[name].(map[string]any), value)
	}
	if want, ok := schema["const"]; ok && want != value {
		return fmt.Errorf("%s is %v, want %v", at, value, want)
	}
	switch schema["type"] {
	case nil:
		return nil
	case "object":
		return v.object(at, schema, value)
	case "array":
		list, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%s is no list but %T", at, value)
		}
		for i, e := range list {
			if err := v.check(fmt.Sprintf("%s[%d]", at, i), schema["items"].(map[string]any), e); err != nil {
				return err
			}
		}
		return nil
	}
	kinds := map[string]string{"string": "string", "boolean": "bool", "integer": "float64"}
	if got := fmt.Sprintf("%T", value); got != kinds[schema["type"].(string)] {
		return fmt.Errorf("%s is a %s, want %s", at, got, schema["type"])
	}
	return nil
}

func (v validator) object(at string, schema map[string]any, value any) error {
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no object but %T", at, value)
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := object[name.(string)]; !ok {
			return fmt.Errorf("%s has no %s", at, name)
		}
	}
	props, _ := schema["properties"].(map[string]any)
	rest, _ := schema["additionalProperties"].(map[string]any)
	for name, e := range object {
		p, ok := props[name].(map[string]any)
		if !ok {
			p = rest
		}
		if p == nil {
			return fmt.Errorf("%s.%s is not in the schema", at, name)
		}
		if err := v.check(at+"."+name, p, e); err != nil {
			return err
		}
	}
	return nil
}

// What is printed is as the schema says.
func TestSchemaHolds(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var v validator
	if err := json.Unmarshal(text, &v.root); err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{"build.hcl": `target "a" {}`, "Dockerfile": "FROM scratch\nCOPY . /\n"})
	saved := makePlan(t, dir, func(in *Input) { in.Count.List = true }, "a")
	reopened(t, saved)
	full := makePlan(t, write(t, shop), nil)
	for i, value := range []any{saved.Plan, full.Plan, Diff(saved.Plan, full.Plan), Diff(full.Plan, saved.Plan), &Plan{Version: Version, Kind: Kind}} {
		var got any
		if err := json.Unmarshal(encoded(t, value), &got); err != nil {
			t.Fatal(err)
		}
		var errs []string
		for _, one := range v.root["oneOf"].([]any) {
			if err := v.check("plan", one.(map[string]any), got); err != nil {
				errs = append(errs, err.Error())
			}
		}
		if fits, empty := len(errs) == 1, i == 4; fits == empty { // the empty one has null for lists
			t.Errorf("value %d: %v", i, errs)
		}
	}
}
