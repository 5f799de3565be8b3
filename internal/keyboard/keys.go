package keyboard

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// named are the keys that are no characters, as terminals send them: xterm's
// control sequences, in both of its modes for the cursor keys.
var named = map[string]string{
	"\x1b[A": "up", "\x1bOA": "up",
	"\x1b[B": "down", "\x1bOB": "down",
	"\x1b[5~": "pgup", "\x1b[6~": "pgdn",
	"\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[7~": "home",
	"\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "\x1b[8~": "end",
	"\r": "enter", "\n": "enter", " ": "space", "\x1b": "esc",
	"\x02": "pgup", "\x06": "pgdn", "\x10": "up", "\x0e": "down", // as pagers have them
}

// decode names the keys in what was typed. What may be the beginning of a key
// is returned for the next time, unless whole says that no more will come.
// Keys without a name are left out.
func decode(typed []byte, whole bool) (keys []string, rest []byte) {
	s := string(typed)
	for len(s) > 0 {
		n := next(s)
		if n == 0 && !whole {
			return keys, []byte(s)
		}
		if n == 0 { // a lone escape, whatever follows it
			n = 1
		}
		key := s[:n]
		s = s[n:]
		if name := named[key]; name != "" {
			keys = append(keys, name)
		} else if utf8.ValidString(key) && !strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// next returns how many bytes the first key has; 0 if more have to come.
func next(s string) int {
	if !strings.HasPrefix(s, "\x1b") {
		_, _, n, _ := ansi.DecodeSequence(s, ansi.NormalState, nil)
		return n
	}
	switch {
	case len(s) == 1:
		return 0
	case s[1] == 'O': // one more byte, which the decoder does not know of
		if len(s) == 2 {
			return 0
		}
		return 3
	case s[1] != '[':
		return 1
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
	}
	return 0
}
