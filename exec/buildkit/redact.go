package buildkit

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
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

// secretName is what the names of variables and arguments have in them that
// hold a secret; plainName, at their end, says that it is something about one.
var (
	secretName = regexp.MustCompile(`(?i)token|passw|secret|api_?key|access_?key|private_?key|credential`)
	plainName  = regexp.MustCompile(`(?i)_(?:id|name|file|path|dir|url|host|user|type|version|env)$`)
)

// IsSecretName reports whether the name of a variable or argument says that
// its value is a secret.
func IsSecretName(name string) bool {
	return secretName.MatchString(name) && !plainName.MatchString(name)
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
	known := len(r.values)
	for line := range strings.Lines(string(value)) {
		if line = strings.TrimSpace(line); len(line) >= shortest {
			r.values[line] = true
		}
	}
	if len(r.values) == known {
		return
	}
	values := slices.SortedFunc(maps.Keys(r.values), func(a, b string) int { // one may begin with another
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, v := range values {
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
