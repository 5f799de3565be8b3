package store

import (
	"fmt"
	"path/filepath"
	"testing"
)

// What `kiln images` reads grows with the number of images and no faster.
func BenchmarkKnow(b *testing.B) {
	for _, n := range []int{100, 1_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "store"))
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				d, err := addImage(s.Content(), fmt.Sprint("layer of ", i))
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Put(b.Context(), []string{fmt.Sprintf("registry.example.com/team/app%d:1", i)}, d); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				s, err := Open(s.Dir())
				if err != nil {
					b.Fatal(err)
				}
				list, err := s.List(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if _, wrong := s.Know(b.Context(), list, nil); len(wrong) > 0 {
					b.Fatal(wrong)
				}
			}
		})
	}
}
