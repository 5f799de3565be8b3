package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Changes are what makes one plan another. Lists are in the order of the new
// plan; those of targets that are gone, in that of the old one.
type Changes struct {
	Version int       `json:"version"`
	Kind    string    `json:"kind"` // "plan-diff"
	Old     string    `json:"old"`  // how the old plan was named
	New     string    `json:"new"`
	Added   []string  `json:"added"`
	Removed []string  `json:"removed"`
	Changed []Changed `json:"changed"`
	Same    int       `json:"same"` // number of targets that are as they were
}

// DiffKind is the kind of Changes.
const DiffKind = "plan-diff"

// A Changed is a target that both plans have.
type Changed struct {
	Name   string  `json:"name"`
	Fields []Field `json:"fields"` // by name
}

// A Field is something about a target that differs. Old or New is missing if
// only the other plan has it.
type Field struct {
	Name string  `json:"name"` // path in the target, as "args.GO" or "dockerfile.stage"
	Old  *string `json:"old,omitempty"`
	New  *string `json:"new,omitempty"`
	// Added and Removed are elements of a list, in place of Old and New.
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// Any reports whether anything differs.
func (c *Changes) Any() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) > 0 }

// Diff compares two plans by the names of targets. What is sent, and where
// targets are declared, is not compared.
func Diff(old, new *Plan) *Changes {
	c := &Changes{Version: Version, Kind: DiffKind, Added: []string{}, Removed: []string{}, Changed: []Changed{}}
	was := map[string]*Target{}
	for _, t := range old.Targets {
		was[t.Name] = t
	}
	for _, t := range new.Targets {
		before := was[t.Name]
		delete(was, t.Name)
		if before == nil {
			c.Added = append(c.Added, t.Name)
			continue
		}
		if fields := differing(before.flat(), t.flat()); len(fields) > 0 {
			c.Changed = append(c.Changed, Changed{t.Name, fields})
		} else {
			c.Same++
		}
	}
	for _, t := range old.Targets {
		if was[t.Name] != nil {
			c.Removed = append(c.Removed, t.Name)
		}
	}
	return c
}

// notCompared are the fields of a target that Diff leaves out.
var notCompared = []string{"name", "declared", "sends", "unsure"}

// A flatTarget is a target as text by field.
type flatTarget struct {
	values map[string]string   // what is shown
	real   map[string]string   // what is compared, where that is not shown
	lists  map[string][]string // of plain text
}

// flat breaks a target down.
func (t *Target) flat() flatTarget {
	f := flatTarget{map[string]string{}, map[string]string{}, map[string][]string{}}
	data, err := json.Marshal(t)
	if err != nil {
		panic(err) // text and numbers can always be written
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		panic(err) // it was just written
	}
	for _, name := range notCompared {
		delete(fields, name)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f.add(name, fields[name])
	}
	delete(f.lists, "dockerfile.stages") // its text differs, and the stage that is built is told
	for _, kvs := range []struct {
		name string
		list []KeyValue
	}{{"args", t.Args}, {"labels", t.Labels}, {"dockerfile.fromArgs", t.Dockerfile.FromArgs}} {
		for _, kv := range kvs.list {
			f.real[kvs.name+"."+kv.Key] = kv.real
		}
	}
	return f
}

// add takes a value and all that is in it.
func (f *flatTarget) add(path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			f.add(path+"."+key, v[key])
		}
	case []any:
		f.list(path, v)
	case string:
		f.values[path] = v
	case nil:
	default:
		f.values[path] = fmt.Sprint(v)
	}
}

// list takes a list: of pairs and contexts by their keys, of the rest by value.
func (f *flatTarget) list(path string, list []any) {
	for _, e := range list {
		object, ok := e.(map[string]any)
		if !ok {
			f.lists[path] = append(f.lists[path], fmt.Sprint(e))
			continue
		}
		switch {
		case object["key"] != nil:
			f.values[path+"."+fmt.Sprint(object["key"])] = fmt.Sprint(object["value"])
		case object["from"] != nil && object["name"] != nil:
			name := path + "." + fmt.Sprint(object["name"])
			if object["name"] == "" {
				name = "context"
			}
			f.values[name] = contextText(Context{Type: fmt.Sprint(object["type"]), From: fmt.Sprint(object["from"])})
		case object["ref"] != nil:
			f.lists[path] = append(f.lists[path], fmt.Sprint(object["ref"]))
		default:
			f.lists[path] = append(f.lists[path], objectText(object))
		}
	}
}

// objectText writes an object as build files would: "type=local,dest=out".
func objectText(object map[string]any) string {
	var parts []string
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(k, v[k])
			}
		case []any:
			for _, e := range v {
				walk(prefix, e)
			}
		default:
			if s := fmt.Sprint(v); s != "" {
				parts = append(parts, prefix+"="+s)
			}
		}
	}
	if typ, ok := object["type"]; ok {
		walk("type", typ)
	}
	for _, k := range slices.Sorted(maps.Keys(object)) {
		if k != "type" {
			walk(k, object[k])
		}
	}
	return strings.Join(parts, ",")
}

// differing compares two targets.
func differing(old, new flatTarget) []Field {
	var out []Field
	for _, name := range both(old.values, new.values) {
		was, had := old.values[name]
		is, has := new.values[name]
		if had == has && was == is && old.real[name] == new.real[name] {
			continue
		}
		f := Field{Name: name}
		if had {
			f.Old = &was
		}
		if has {
			f.New = &is
		}
		out = append(out, f)
	}
	for _, name := range both(old.lists, new.lists) {
		was, is := old.lists[name], new.lists[name]
		if slices.Equal(was, is) {
			continue
		}
		f := Field{Name: name, Added: without(is, was), Removed: without(was, is)}
		if len(f.Added)+len(f.Removed) == 0 { // another order, or repeats
			before, after := strings.Join(was, ", "), strings.Join(is, ", ")
			f.Old, f.New = &before, &after
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// both are the keys of two maps, sorted.
func both[V any](a, b map[string]V) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}

// without returns the elements that another list does not have.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(e string) bool { return slices.Contains(other, e) })
}
