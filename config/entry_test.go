package config

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func basedLetters(s string) []based[string] {
	var list []based[string]
	for _, c := range s {
		list = append(list, based[string]{string(c), nil})
	}
	return list
}

func letters(list []based[string]) string { return strings.Join(bare(list), "") }

// slowFirstOf is what bake does, step by step.
func slowFirstOf(s string) string {
	list := []byte(s)
	for i := len(list) - 2; i >= 0; i-- {
		for j := i + 1; j < len(list); j++ {
			if list[i] == list[j] {
				list[j] = list[len(list)-1]
				list = list[:len(list)-1]
				break
			}
		}
	}
	return string(list)
}

func TestFirstOf(t *testing.T) {
	same := func(s string) string { return s }
	for in, want := range map[string]string{"": "", "a": "a", "aa": "a", "aabc": "acb", "abab": "ab", "abcabc": "abc"} {
		if got := letters(firstOf(basedLetters(in), same)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		in := make([]byte, random.IntN(12))
		for i := range in {
			in[i] = "abcde"[random.IntN(5)]
		}
		if got, want := letters(firstOf(basedLetters(string(in)), same)), slowFirstOf(string(in)); got != want {
			t.Fatalf("%s: %s, want %s", in, got, want)
		}
	}
}

// Repeats of cache-from are dropped at each layer, so their order depends on
// the layers.
func TestCacheFromOrder(t *testing.T) {
	file := File{Name: "docker-bake.hcl", Data: []byte(`
target "p" { cache-from = ["a", "a", "b", "c"] }
target "q" {
  inherits   = ["p"]
  cache-from = ["c", "d"]
}
target "s" {
  secret = ["id=x,src=1", "id=y,src=2", "id=x,src=3"]
}`)}
	cfg, diags := Load([]File{file}, Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for i, want := range []string{"acb", "acbd"} {
		got := ""
		for _, c := range cfg.Targets[i].CacheFrom {
			got += c.Attrs[0].Value
		}
		if got != want {
			t.Errorf("%s: %s, want %s", cfg.Targets[i].Name, got, want)
		}
	}
	if s := cfg.Targets[2].Secrets; len(s) != 2 || s[0].Src != "3" || s[1].Src != "2" {
		t.Errorf("secrets %v", s)
	}
}

func TestManyEntriesAreFast(t *testing.T) {
	var list []based[string]
	random := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		list = append(list, based[string]{fmt.Sprint(random.Uint64()), nil})
	}
	begun := time.Now()
	if got := firstOf(list, func(s string) string { return s }); len(got) != 100_000 || time.Since(begun) > Slowdown*time.Minute {
		t.Errorf("%d entries after %s", len(got), time.Since(begun))
	}
}
