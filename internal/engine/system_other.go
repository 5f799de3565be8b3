//go:build !unix

package engine

import "os"

func isOwn(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
