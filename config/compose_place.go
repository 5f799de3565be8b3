package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"go.yaml.in/yaml/v3"
)

// composePlaces finds where something was written in Compose files. The
// Compose loader does not tell, so the files are parsed a second time, for
// the places of their keys only.
type composePlaces struct{ docs []composeDoc }

type composeDoc struct {
	file  string
	root  *yaml.Node // nil if the file is not YAML
	lines []int      // offset of the begin of each line
}

func newComposePlaces(files []File) composePlaces {
	var p composePlaces
	for _, f := range files {
		doc := composeDoc{file: f.Name, lines: []int{0}}
		for i, c := range f.Data {
			if c == '\n' {
				doc.lines = append(doc.lines, i+1)
			}
		}
		var node yaml.Node
		if err := yaml.Unmarshal(f.Data, &node); err == nil && len(node.Content) > 0 {
			doc.root = node.Content[0]
		}
		p.docs = append(p.docs, doc)
	}
	return p
}

// find returns the range of the key that a path of keys leads to, or of the
// last key on the way that is there. The last file that has most of the path
// counts, since it wins when files are merged.
func (p composePlaces) find(path ...string) hcl.Range {
	best, depth := hcl.Range{}, -1
	for _, doc := range p.docs {
		key, n := doc.root, 0
		value := doc.root
		for _, name := range path {
			k, v := entry(value, name)
			if k == nil {
				break
			}
			key, value, n = k, v, n+1
		}
		if n >= depth {
			best, depth = doc.rangeOf(key), n
		}
	}
	return best
}

// entry returns key and value of an entry of a mapping, through aliases and
// merge keys, or nil.
func entry(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	return entryWithin(mapping, name, 20)
}

func entryWithin(mapping *yaml.Node, name string, depth int) (key, value *yaml.Node) {
	for mapping != nil && mapping.Kind == yaml.AliasNode {
		mapping = mapping.Alias
	}
	if mapping == nil || mapping.Kind != yaml.MappingNode || depth == 0 {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != "<<" {
			continue
		}
		if k, v := entryWithin(mapping.Content[i+1], name, depth-1); k != nil {
			return k, v
		}
	}
	return nil, nil
}

// rangeOf returns the range of a node; that of the file's begin if it is nil.
func (d composeDoc) rangeOf(n *yaml.Node) hcl.Range {
	if n == nil {
		return *fileStart(d.file)
	}
	start := d.position(n.Line, n.Column)
	end := start
	if n.Kind == yaml.ScalarNode {
		end.Column += len(n.Value)
		end.Byte += len(n.Value)
	}
	return hcl.Range{Filename: d.file, Start: start, End: end}
}

func (d composeDoc) position(line, column int) hcl.Pos {
	p := hcl.Pos{Line: max(line, 1), Column: max(column, 1)}
	p.Byte = d.lines[min(p.Line, len(d.lines))-1] + p.Column - 1
	return p
}

// line returns the range of the begin of a line.
func (p composePlaces) line(file string, line int) hcl.Range {
	for _, d := range p.docs {
		if d.file == file {
			pos := d.position(line, 1)
			return hcl.Range{Filename: file, Start: pos, End: pos}
		}
	}
	return *fileStart(file)
}

// fileStart returns the range of nothing in particular in a file.
func fileStart(file string) *hcl.Range {
	return &hcl.Range{Filename: file, Start: hcl.InitialPos, End: hcl.InitialPos}
}

var (
	yamlLine    = regexp.MustCompile(`\bline (\d+)`)
	composePath = regexp.MustCompile(`\b(?:services|secrets)(?:\.[^\s:,."'\x60]+)+`)
	serviceName = regexp.MustCompile(`\bservice "([^"]+)"`)
)

// problem makes a diagnostic of an error of the Compose loader, which gives
// no places but in its text. Only the place depends on that text.
func (r *composeReader) problem(file string, err error) *hcl.Diagnostic {
	text := strings.TrimSuffix(err.Error(), ".")
	text = strings.TrimPrefix(text, fmt.Sprintf("failed to parse %s: ", file))
	place := *fileStart(file)
	if m := composePath.FindString(text); m != "" {
		place = r.places.find(strings.Split(m, ".")...)
	} else if m := serviceName.FindStringSubmatch(text); m != nil {
		place = r.places.find("services", m[1])
	} else if m := yamlLine.FindStringSubmatch(text); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			place = r.places.line(file, line)
		}
	}
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Invalid Compose file",
		Detail:   fmt.Sprintf("The Compose file %s cannot be used: %s.", file, text),
		Subject:  &place,
	}
}
