package keyboard

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		typed string
		whole bool
		keys  string
		rest  string
	}{
		{"jk", false, "j k", ""},
		{"\x1b[A\x1b[B\x1bOA\x1bOB", false, "up down up down", ""},
		{"\x1b[5~\x1b[6~ \x1b[H\x1b[F\x1b[1~\x1b[4~", false, "pgup pgdn space home end home end", ""},
		{"\r\n", false, "enter enter", ""},
		{"q\x1b", false, "q", "\x1b"},
		{"\x1b", true, "esc", ""},
		{"\x1b[", false, "", "\x1b["},
		{"\x1b[", true, "esc [", ""},
		{"\x1bO", false, "", "\x1bO"},
		{"\x1bq", false, "esc q", ""},
		{"\x1b\x1b[A", false, "esc up", ""},
		{"\x1b[1;5A?", false, "?", ""},          // ctrl-up
		{"\x1b[<0;10;5M?", false, "?", ""},      // a mouse
		{"\x1b[200~G\x1b[201~", false, "G", ""}, // pasted
		{"é日?", false, "é 日 ?", ""},             // characters
		{"\x00\x01\x7f\xff?", false, "?", ""},   // control characters, and what is no text
		{"\x02\x06\x10\x0e", false, "pgup pgdn up down", ""},
	} {
		keys, rest := decode([]byte(tt.typed), tt.whole)
		if diff := cmp.Diff(tt.keys, strings.Join(keys, " ")); diff != "" || string(rest) != tt.rest {
			t.Errorf("%q: %s, rest %q, want %q", tt.typed, diff, rest, tt.rest)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("a\x1b[A\x1bO\x1b"))
	f.Fuzz(func(t *testing.T, typed []byte) {
		keys, rest := decode(typed, false)
		if len(rest) > len(typed) || len(rest) > 0 && rest[0] != 0x1b {
			t.Errorf("%q: rest %q", typed, rest)
		}
		for _, k := range keys {
			if k == "" || strings.ContainsAny(k, "\x1b\n\x00") {
				t.Errorf("%q: key %q", typed, k)
			}
		}
		if _, rest := decode(typed, true); rest != nil {
			t.Errorf("%q: rest %q of all", typed, rest)
		}
	})
}
