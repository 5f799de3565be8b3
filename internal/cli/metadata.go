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

	"github.com/kilnbuild/kiln/exec"
)

// checkMetadataFile says before the build what would make writing the
// metadata fail after it.
func checkMetadataFile(path string) error {
	if path == "" {
		return nil
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return usagef("--metadata-file %s is a directory; name a file", path)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || !st.IsDir() {
		return usagef("--metadata-file %s: the directory %s does not exist; make it first", path, filepath.Dir(path))
	}
	return nil
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
	if err := writeJSON(&b, all); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return writeFileAtomic(path, bytes.TrimRight(b.Bytes(), "\n"))
}

// metadataOf decodes what exporters send as base64 of JSON. Names are those
// of the build file, as bake has them.
func metadataOf(o exec.Outcome) map[string]any {
	out := map[string]any{}
	for k, v := range o.Output.Metadata {
		if tags := o.Node.Target.Tags; k == "image.name" && len(tags) > 0 {
			v = strings.Join(tags, ",")
		}
		out[k] = v
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(raw) == 0 || (raw[0] != '{' && raw[0] != '[') || !json.Valid(raw) {
			continue
		}
		out[k] = json.RawMessage(raw)
	}
	return out
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
	w := struct {
		Vertex string `json:"vertex,omitempty"`
		Level  int    `json:"level"`
		Short  []byte `json:"short"`
	}{Level: 1, Short: e.Log}
	if e.Vertex != nil {
		w.Vertex = e.Vertex.Digest
	}
	text, err := json.Marshal(w)
	if err != nil {
		return // strings and numbers can be written
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
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

func writeFileAtomic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".kiln-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
