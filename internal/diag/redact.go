package diag

import (
	"regexp"
	"strings"
)

// What looks like a password: a value given to a name that says so, and the
// user part of a URL. The value is the group.
var (
	secretName = `[A-Za-z0-9_]*(?:TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)[A-Z0-9_]*|[A-Za-z0-9_-]+[_-](?:token|password|passwd|secret|api_?key)`
	secrets    = []*regexp.Regexp{
		regexp.MustCompile(`(?:^|[^A-Za-z0-9_])(?:` + secretName + `)"?\s*[=:]\s*"([^"$]+)"`),
		regexp.MustCompile(`(?:^|[^A-Za-z0-9_])(?:` + secretName + `)=([^\s"'$,]+)`),
		regexp.MustCompile(`(?:https?|git)://([^\s/@"$]+)@`),
		regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^\s/@":$]*:([^\s/@"$]+)@`),
	}
)

// Redact hides what looks like a password in a line; the line keeps its
// length, so that positions in it stay right.
func Redact(line string) string {
	for _, re := range secrets {
		for _, m := range re.FindAllStringSubmatchIndex(line, -1) {
			from, to := m[2], m[3]
			line = line[:from] + strings.Repeat("*", to-from) + line[to:]
		}
	}
	return line
}

// sensitive reports whether the value of a variable of that name is not for
// showing.
func sensitive(name string) bool { return sensitiveName.MatchString(name) }

var sensitiveName = regexp.MustCompile(`(?i)token|passw|secret|api_?key|access_key|private_key|credential`)
