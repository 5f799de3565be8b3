package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/atomicfile"
)

// checkOutputFile says before the build what would make writing the file that
// a flag names fail after it; "" is no file.
func checkOutputFile(flag, path string) error {
	if path == "" {
		return nil
	}
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return usagef("%s %s is a directory; name a file", flag, path)
	case err == nil && !st.Mode().IsRegular():
		return usagef("%s %s is no regular file, and only such a one is written whole or not at all; name another", flag, path)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || !st.IsDir() {
		return usagef("%s %s: the directory %s does not exist; make it first", flag, path, filepath.Dir(path))
	}
	f, err := os.CreateTemp(filepath.Dir(linked(path)), ".kiln-*")
	if err != nil {
		return usagef("%s %s cannot be written: %w", flag, path, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// linked is the file that a path leads to through symbolic links.
func linked(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// recordMode reads BUILDX_METADATA_PROVENANCE as buildx does, to whom what it
// does not know is min.
func recordMode(value string) buildkit.Record {
	switch {
	case value == "disabled", isFalse(value):
		return buildkit.RecordNone
	case value == "max":
		return buildkit.RecordMax
	}
	return buildkit.RecordMin
}

// writeMetadata writes the exporters' answers of the targets that were built
// as a JSON object by target name, whole or not at all.
func writeMetadata(path string, outcomes []exec.Outcome, warnings []json.RawMessage) error {
	all := map[string]any{}
	for _, o := range outcomes {
		if o.Status == exec.Built {
			all[o.Node.Name()] = metadataOf(o)
		}
	}
	if len(warnings) > 0 {
		all["buildx.build.warnings"] = warnings
	}
	var b bytes.Buffer
	err := writeJSON(&b, all)
	if err == nil {
		err = writeFileAtomic(linked(path), bytes.TrimRight(b.Bytes(), "\n"), 0o644)
	}
	if err != nil {
		return &exitError{code: codeFailed, err: fmt.Errorf("write the metadata file: %w", err)}
	}
	return nil
}

// metadataOf decodes what exporters send as base64 of JSON, as bake does.
// Names of images are those of the build file, as bake has them; in files
// they are whole.
func metadataOf(o exec.Outcome) map[string]any {
	out := map[string]any{}
	files := len(o.Node.Target.Outputs) > 0 && !slices.ContainsFunc(o.Node.Target.Outputs, func(e config.Export) bool { return e.Dest == "" })
	for k, v := range o.Output.Metadata {
		if tags := o.Node.Target.Tags; k == "image.name" && len(tags) > 0 && !files {
			v = strings.Join(tags, ",")
		}
		out[k] = v
		raw, err := base64.StdEncoding.DecodeString(v)
		if k == "result.json" { // a frontend's answer is not encoded
			raw, err = []byte(v), nil
		}
		if err == nil && holdsObjects(raw) {
			out[k] = json.RawMessage(raw)
		}
	}
	return out
}

// holdsObjects reports whether text is a JSON object with fields, or an array
// of objects; what else exporters say stays text.
func holdsObjects(text []byte) bool {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil && len(object) > 0 {
		return true
	}
	var list []map[string]json.RawMessage
	return json.Unmarshal(text, &list) == nil && len(list) > 0
}

// A warningSink collects the warnings of a run for the metadata file.
type warningSink struct {
	exec.Sink

	mu  sync.Mutex // guards all
	all []json.RawMessage
}

// Event implements exec.Sink.
func (s *warningSink) Event(e exec.Event) {
	s.Sink.Event(e)
	if e.Kind != exec.Warning {
		return
	}
	text, err := json.Marshal(warningOf(e))
	if err != nil {
		return // strings and numbers can be written
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
}

// A metadataWarning is an element of buildx.build.warnings, with buildx's names.
type metadataWarning struct {
	Vertex     string           `json:"vertex,omitempty"`
	Level      int              `json:"level,omitempty"`
	Short      []byte           `json:"short,omitempty"`
	Detail     [][]byte         `json:"detail,omitempty"`
	URL        string           `json:"url,omitempty"`
	SourceInfo *metadataSource  `json:"sourceInfo,omitempty"`
	Range      []*metadataRange `json:"range,omitempty"`
}

type metadataSource struct {
	Filename string `json:"filename,omitempty"`
	Data     []byte `json:"data,omitempty"`
	Language string `json:"language,omitempty"`
}

type metadataRange struct {
	Start metadataLine `json:"start"`
	End   metadataLine `json:"end"`
}

type metadataLine struct {
	Line int `json:"line"`
}

func warningOf(e exec.Event) metadataWarning {
	w := metadataWarning{Level: 1, Short: e.Log}
	if e.Vertex != nil {
		w.Vertex = e.Vertex.Digest
	}
	c := e.Caution
	if c == nil {
		return w
	}
	w.Level, w.URL, w.Short = c.Level, c.URL, []byte(c.Finding)
	for _, d := range c.Detail {
		w.Detail = append(w.Detail, []byte(d))
	}
	if c.Source != nil {
		w.SourceInfo = &metadataSource{Filename: c.File, Data: c.Source, Language: "Dockerfile"}
	}
	for _, r := range c.Ranges {
		w.Range = append(w.Range, &metadataRange{metadataLine{r.StartLine}, metadataLine{r.EndLine}})
	}
	return w
}

// sorted are the warnings, in an order that does not depend on which target
// was faster.
func (s *warningSink) sorted() []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.all)
	slices.SortFunc(out, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	return out
}

// writeFileAtomic writes a file that a user has asked for.
func writeFileAtomic(path string, data []byte, mode os.FileMode) error {
	return atomicfile.Write(path, data, atomicfile.Options{Mode: mode, Sync: true})
}
