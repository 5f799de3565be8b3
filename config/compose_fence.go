package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v3"
)

// The Compose loader reads what include and extends name by itself. So before
// it runs, the files are walked the way it will go, and one that leads where
// nothing may be read is refused.

// maxComposeDepth bounds includes and extends within each other.
const maxComposeDepth = 50

// A yamlError says that a file cannot be walked. The loader says it better.
type yamlError struct{ error }

// A composeWalk looks at what Compose files name.
type composeWalk struct {
	r    *composeReader
	seen map[string]bool
}

// mayLoad returns the error of the first path that may not be read. Remote
// files may name none, which the loader is told.
func (r *composeReader) mayLoad(files []File) error {
	if r.in.Compose.May == nil || slices.ContainsFunc(files, func(f File) bool { return f.Remote }) {
		return nil
	}
	w := &composeWalk{r: r, seen: map[string]bool{}}
	for _, f := range files {
		if err := w.file(f.Data, ".", 0); err != nil {
			return err
		}
	}
	return nil
}

// file walks the text of a file whose paths are relative to dir.
func (w *composeWalk) file(data []byte, dir string, depth int) error {
	if depth > maxComposeDepth {
		return fmt.Errorf("include and extends lead through more than %d files", maxComposeDepth)
	}
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc struct {
			Include  []any
			Services map[string]any
		}
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var wrong *yaml.TypeError
		if err != nil && !errors.As(err, &wrong) {
			return &yamlError{err}
		}
		for _, entry := range doc.Include {
			if err := w.include(entry, dir, depth); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(doc.Services)) {
			if err := w.extends(doc.Services[name], dir, depth); err != nil {
				return err
			}
		}
	}
}

// include walks an entry of include: a path, or paths with what goes with them.
func (w *composeWalk) include(entry any, dir string, depth int) error {
	long, ok := entry.(map[string]any)
	if !ok {
		long = map[string]any{"path": entry}
	}
	for _, env := range texts(long["env_file"]) {
		if err := w.envFile(env, dir, depth); err != nil {
			return err
		}
	}
	project := ""
	for _, p := range texts(long["project_directory"]) {
		text, err := w.plain(p, depth)
		if err != nil {
			return err
		}
		project = joined(dir, text)
	}
	for i, p := range texts(long["path"]) {
		path, err := w.path(p, dir, depth)
		if err != nil {
			return err
		}
		if i == 0 && project == "" {
			project = filepath.Dir(path)
		}
		if i == 0 {
			if err := w.r.in.Compose.May(filepath.Join(project, ".env")); err != nil {
				return err
			}
		}
		if err := w.next(path, project, depth); err != nil {
			return err
		}
	}
	return nil
}

// envFile checks the env_file of an include, which the loader looks for in
// the file's directory, and in one that is named by the end of that only.
func (w *composeWalk) envFile(name, dir string, depth int) error {
	for parts := strings.Split(filepath.ToSlash(dir), "/"); ; parts = parts[1:] {
		if _, err := w.path(name, strings.Join(parts, "/"), depth); err != nil || len(parts) == 0 {
			return err
		}
	}
}

func (w *composeWalk) extends(service any, dir string, depth int) error {
	s, ok := service.(map[string]any)
	if !ok {
		return nil
	}
	from, ok := s["extends"].(map[string]any)
	if !ok {
		return nil
	}
	for _, p := range texts(from["file"]) {
		path, err := w.path(p, dir, depth)
		if err != nil {
			return err
		}
		if err := w.next(path, filepath.Dir(path), depth); err != nil {
			return err
		}
	}
	return nil
}

// next walks a file that another names; one that cannot be read is left for
// the loader to tell of.
func (w *composeWalk) next(path, dir string, depth int) error {
	key := path + "\x00" + dir
	if w.seen[key] {
		return nil
	}
	w.seen[key] = true
	if w.r.in.Compose.ReadFile == nil {
		return nil
	}
	if w.r.in.Compose.ReadFile == nil {
		return fmt.Errorf("%s cannot be read here", path)
	}
	data, err := w.r.in.Compose.ReadFile(path)
	if err != nil {
		return nil
	}
	return w.file(data, dir, depth+1)
}

// path is what a text names, if it may be read.
func (w *composeWalk) path(text, dir string, depth int) (string, error) {
	text, err := w.plain(text, depth)
	if err != nil {
		return "", err
	}
	p := joined(dir, text)
	return p, w.r.in.Compose.May(p)
}

// plain replaces the variables in a text. Files that are included may have
// further ones, which are not known here.
func (w *composeWalk) plain(text string, depth int) (string, error) {
	if depth > 0 && strings.Contains(text, "$") {
		return "", fmt.Errorf("%q: in a file that is included, name other files without variables", text)
	}
	out, err := template.Substitute(text, func(name string) (string, bool) {
		v, ok := w.r.env[name]
		return v, ok
	})
	if err != nil {
		return text, nil // the loader tells of it
	}
	return out, nil
}

func joined(dir, p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(dir, p)
}

// texts are the texts in a value: itself, or its elements.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, texts(e)...)
		}
		return out
	}
	return nil
}

// A composeFence refuses absolute paths that may not be read, should the walk
// have missed one.
type composeFence struct{ may func(string) error }

// Accept implements loader.ResourceLoader.
func (f composeFence) Accept(p string) bool { return filepath.IsAbs(p) && f.may(p) != nil }

// Dir implements loader.ResourceLoader.
func (f composeFence) Dir(string) string { return "" }

// Load implements loader.ResourceLoader.
func (f composeFence) Load(_ context.Context, p string) (string, error) { return "", f.may(p) }
