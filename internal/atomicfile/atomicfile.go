// Package atomicfile replaces files whole or not at all, whenever the process
// ends.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Options change how Write goes about it. The zero value is for notes that may
// be lost with the machine's power.
type Options struct {
	Mode   fs.FileMode // of the file; 0 is 0600
	Prefix string      // of the name that it has, beside the path, while it is written; "" is ".kiln-"
	Sync   bool        // the content is on the disk before the name is
}

// Write makes data the content of the file at path, in place of what there
// was. The directory has to be there. Processes may write one file at once:
// the last wins. What a killed one leaves has the prefix in its name.
func Write(path string, data []byte, o Options) error {
	if o.Prefix == "" {
		o.Prefix = ".kiln-"
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), o.Prefix+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil && o.Mode != 0 {
		err = tmp.Chmod(o.Mode)
	}
	if err == nil && o.Sync {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
