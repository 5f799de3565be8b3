package buildkit

import (
	"regexp"
	"strings"
	"sync"
)

// hidden stands for what must not be shown.
const hidden = "xxxxx"

// userinfo is the name and password in a URL.
var userinfo = regexp.MustCompile(`([a-z][a-z0-9+.-]*://)([^/@\s:]*):?([^/@\s]*)@`)

// redactURL hides what a URL says before its "@", unless that is only a name.
func redactURL(text string) string {
	return userinfo.ReplaceAllStringFunc(text, func(m string) string {
		p := userinfo.FindStringSubmatch(m)
		if p[3] == "" && len(p[2]) < 20 { // a user, not a token
			return m
		}
		return p[1] + hidden + "@"
	})
}

// A redactor hides secrets in text.
type redactor struct {
	// mu guards the fields below.
	mu       sync.RWMutex
	values   map[string]bool
	replacer *strings.Replacer
}

func newRedactor() *redactor { return &redactor{values: map[string]bool{}} }

// shortest is the length below which a secret is not looked for: the text
// would lose words that have nothing to do with it.
const shortest = 6

// add makes a secret's value, and each of its lines, known.
func (r *redactor) add(value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(string(value)) {
		if line = strings.TrimSpace(line); len(line) >= shortest {
			r.values[line] = true
		}
	}
	var pairs []string
	for v := range r.values { // the order does not matter: all become the same
		pairs = append(pairs, v, hidden)
	}
	r.replacer = strings.NewReplacer(pairs...)
}

func (r *redactor) text(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.replacer != nil {
		s = r.replacer.Replace(s)
	}
	if strings.Contains(s, "@") {
		s = redactURL(s)
	}
	return s
}

func (r *redactor) bytes(b []byte) []byte { return []byte(r.text(string(b))) }
