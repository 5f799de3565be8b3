package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

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
			all[o.Node.Name()] = metadataOf(o.Output)
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

// metadataOf decodes what exporters send as base64 of JSON.
func metadataOf(o exec.Output) map[string]any {
	out := map[string]any{}
	for k, v := range o.Metadata {
		out[k] = v
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(raw) == 0 || (raw[0] != '{' && raw[0] != '[') || !json.Valid(raw) {
			continue
		}
		out[k] = json.RawMessage(raw)
	}
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
