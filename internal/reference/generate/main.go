// Command generate writes docs/reference below the working directory.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/internal/cli"
)

func main() {
	if err := generate(filepath.Join("docs", "reference")); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		os.Exit(1)
	}
}

func generate(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, page := range cli.Reference() {
		if err := os.WriteFile(filepath.Join(dir, page.Name), []byte(page.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
