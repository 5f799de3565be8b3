package buildkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestTempDiscarded: an output that was given up is gone, though something
// still came in meanwhile, and is not begun after that.
func TestTempDiscarded(t *testing.T) {
	dir := t.TempDir()
	var out temp
	if _, err := out.make(filepath.Join(dir, "out"), true); err != nil {
		t.Fatal(err)
	}
	at := out.at()
	ended := make(chan int)
	began := make(chan struct{})
	go func() {
		n := 0
		for ; n < 2000; n++ {
			if err := os.WriteFile(filepath.Join(at, fmt.Sprint(n)), nil, 0o644); err != nil {
				break // the directory has gone
			}
			if n == 20 {
				close(began)
			}
		}
		ended <- n
	}()
	<-began
	out.discard()
	t.Logf("%d files were written", <-ended)
	for _, directory := range []bool{false, true} {
		if f, err := out.make(filepath.Join(dir, "out"), directory); !errors.Is(err, errOver) {
			t.Errorf("after it was given up there is %v, %v", f, err)
		}
	}
	out.discard()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	late := &loader{}
	late.abort()
	if _, err := late.start(t.Context()); !errors.Is(err, errOver) {
		t.Errorf("an image is loaded after that: %v", err)
	}
}
