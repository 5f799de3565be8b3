package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// loadTime is how long the store is under load; KILN_TEST_LOAD says otherwise.
const loadTime = 4 * time.Second

// untilTold calls do, with a number that counts up, until standard input ends.
func untilTold(do func(i int) error) error {
	told := make(chan struct{})
	go func() {
		defer close(told)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	for i := 0; ; i++ {
		select {
		case <-told:
			return nil
		default:
		}
		if err := do(i); err != nil {
			return err
		}
	}
}

// buildUnderLoad puts images whose layers come and go with those of others,
// and says which names nobody may remove.
func buildUnderLoad(args []string) error {
	dir, id := args[0], args[1]
	s, err := Open(dir)
	if err != nil {
		return err
	}
	return untilTold(func(i int) error {
		if i%5 == 4 { // another kiln; what this one has needed may go
			if err := s.Close(); err != nil {
				return err
			}
			if s, err = Open(dir); err != nil {
				return err
			}
		}
		ref, text := fmt.Sprintf("drop%s:%d", id, i%3), strings.Repeat(fmt.Sprintf("layer %d ", rand.IntN(40)), 5_000)
		if i%10 == 0 {
			ref, text = fmt.Sprintf("keep%s:%d", id, i), fmt.Sprintf("kept %s %d", id, i)
		}
		d, err := addImage(s.Content(), text)
		if err != nil {
			return fmt.Errorf("write %s: %w", ref, err)
		}
		if err := s.Put(context.Background(), []string{ref}, d); err != nil {
			return fmt.Errorf("put %s: %w", ref, err)
		}
		if i%10 == 0 {
			fmt.Println(ref, d.Digest)
		}
		return nil
	})
}

// listUnderLoad reads all there is to read. What is in the list is whole,
// unless it is not in the list any more.
func listUnderLoad(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	return untilTold(func(int) error {
		list, err := s.List(context.Background())
		if err != nil {
			return err
		}
		_, wrong := s.Know(context.Background(), list, nil)
		if _, err := s.Usage(context.Background()); err != nil {
			return err
		}
		if err := pushUnderLoad(args[0]); err != nil {
			return err
		}
		for d := range wrong { // any will do
			if err := s.alone(context.Background(), func() error { return listedWhole(s, d) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// pushUnderLoad holds an image as a push does. It may be gone, in whole or in
// part, before it is held, and stays as it was then.
func pushUnderLoad(dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	held, err := s.Use(context.Background(), "dropa:0")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	whole := func() bool { return s.verify(context.Background(), &change{desc: held}) == nil }
	was := whole()
	time.Sleep(20 * time.Millisecond) // let it be removed
	if was && !whole() {
		return fmt.Errorf("%s was held and is not whole any more", held.Digest)
	}
	return nil
}

// listedWhole is an error if an image is in the list and not whole. Nobody
// changes the list meanwhile: else one that was removed could come again
// between the two looks.
func listedWhole(s *Store, d digest.Digest) error {
	_, listed := s.Resolve(context.Background(), d.String())
	_, err := s.facts(descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d})
	if listed == nil && err != nil {
		return fmt.Errorf("listed, and not whole: %v", err) // not wrapped: it would be taken for the store's
	}
	return nil
}

// removeUnderLoad removes what may be removed, and collects garbage.
func removeUnderLoad(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	return untilTold(func(i int) error {
		removed, err := s.Remove(context.Background(), func(im Image) bool { return strings.Contains(im.Name, "/drop") })
		if err != nil {
			return err
		}
		o := GCOptions{}
		if i%2 == 0 {
			o.Of = removed
		}
		g, err := s.GC(context.Background(), o)
		if err != nil {
			return err
		}
		if len(g.Removed) > 0 {
			fmt.Println("removed", len(g.Removed))
		}
		time.Sleep(5 * time.Millisecond) // let something come
		return nil
	})
}

// Two processes build, a third lists, a fourth removes and collects: no error,
// no image lost that was not removed, and all that is left is whole.
func TestUnderLoad(t *testing.T) {
	t.Parallel()
	took := loadTime
	if text := os.Getenv("KILN_TEST_LOAD"); text != "" {
		var err error
		if took, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	type process struct {
		name string
		out  bytes.Buffer
		end  func() error
	}
	var all []*process
	for _, args := range [][]string{{"build", dir, "a"}, {"build", dir, "b"}, {"list", dir}, {"remove", dir}} {
		p := &process{name: strings.Join(args, " ")}
		cmd := child(t, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = &p.out, &p.out
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.end = func() error {
			_ = in.Close() // it may have ended, which Wait tells
			return cmd.Wait()
		}
		all = append(all, p)
	}
	time.Sleep(took) // the load is what is tested
	kept, removed := map[string]string{}, 0
	for _, p := range all {
		if err := p.end(); err != nil {
			t.Errorf("%s: %v\n%s", p.name, err, &p.out)
		}
		for lines := bufio.NewScanner(&p.out); lines.Scan(); {
			ref, d, _ := strings.Cut(lines.Text(), " ")
			if strings.HasPrefix(ref, "keep") {
				kept[ref] = d
			} else if ref == "removed" {
				removed++
			}
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range kept {
		if got, err := s.Resolve(t.Context(), ref); err != nil || got.Digest.String() != want {
			t.Errorf("%s: %v, %v, want %s", ref, got.Digest, err, want)
		}
	}
	if c, err := s.Check(t.Context()); err != nil || len(c.Faults) > 0 {
		t.Errorf("faults %+v, %v", c.Faults, err)
	}
	checkLayout(t, dir)
	t.Logf("%d images kept, garbage collected %d times", len(kept), removed)
}

// workForEver puts, removes and collects, and says which images are in that
// nobody removes.
func workForEver(args []string) error {
	dir, id := args[0], args[1]
	s, err := Open(dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		kept, dropped := fmt.Sprintf("%s:v%d", id, i), fmt.Sprintf("%s-drop:v%d", id, i)
		for ref, text := range map[string]string{kept: fmt.Sprintf("kept %d", i), dropped: strings.Repeat(fmt.Sprintf("layer %d ", i%3), 10_000)} {
			d, err := addImage(s.Content(), text)
			if err == nil {
				err = s.Put(context.Background(), []string{ref}, d)
			}
			if err == nil {
				err = s.PutRecord(d.Digest, id, []byte("{}"))
			}
			if err != nil {
				return err
			}
			if ref == kept {
				fmt.Println(ref, d.Digest)
			}
		}
		if _, err := s.Remove(context.Background(), func(im Image) bool { return strings.Contains(im.Name, id+"-drop") }); err != nil {
			return err
		}
		if _, err := s.GC(context.Background(), GCOptions{}); err != nil {
			return err
		}
	}
}

// Processes that put, remove and collect are killed at random moments. After
// each round the store opens and is whole, no image is lost, and what is left
// of the killed ones goes.
func TestKilledCollectorsLeaveAWholeStore(t *testing.T) {
	const rounds, workers = 7, 4
	dir := filepath.Join(t.TempDir(), "store")
	stored := make(map[string]string)
	for round := range rounds {
		for ref, d := range killChildren(t, "mixed", dir, round, workers) {
			stored[ref] = d
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := s.Check(t.Context()); err != nil || len(c.Faults) > 0 {
			t.Fatalf("round %d: faults %+v, %v", round, c.Faults, err)
		}
		for ref, want := range stored {
			if got, err := s.Resolve(t.Context(), ref); err != nil || got.Digest.String() != want {
				t.Errorf("round %d: %s: got %v, %v, want %s", round, ref, got.Digest, err, want)
			}
		}
		if g := gc(t, s, GCOptions{}); len(g.Spared) > 0 {
			t.Errorf("round %d: spared for nobody: %+v", round, g.Spared)
		}
		left := slices.DeleteFunc(s.glob("ingest/*/ref"), func(path string) bool { return fileSize(path) == 0 }) // see unnamedAfter
		if left = append(left, s.glob(tempPrefix+"*")...); len(left) > 0 {
			t.Errorf("round %d: left: %v", round, left)
		}
		list, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if k, wrong := s.Know(t.Context(), list, nil); len(wrong) > 0 || k.Of(list[0].Target.Digest) == nil {
			t.Errorf("round %d: not known: %v", round, wrong)
		}
	}
	checkLayout(t, dir)
	t.Logf("%d images by %d killed processes", len(stored), rounds*workers)
}
