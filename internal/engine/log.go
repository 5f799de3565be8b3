//go:build linux

package engine

import (
	"regexp"

	"github.com/sirupsen/logrus"
)

// discreet writes log lines without what gives access to anything. BuildKit
// logs addresses as builds name them, and what a registry answers: some say
// in an error what they were sent.
type discreet struct{ logrus.TextFormatter }

// Format implements logrus.Formatter.
func (d *discreet) Format(e *logrus.Entry) ([]byte, error) {
	line, err := d.TextFormatter.Format(e)
	for _, s := range telltale {
		line = s.ReplaceAll(line, []byte("${1}xxxxx${2}"))
	}
	return line, err
}

// telltale are the forms of what is not logged: the password in an address,
// and what follows the scheme of an Authorization header. The groups
// stay.
var telltale = []*regexp.Regexp{
	regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^/@\s:"]*:)[^/@\s"]+(@)`),
	regexp.MustCompile(`(?i)\b((?:bearer|basic) )[a-z0-9._~+/=-]{6,}()`),
	regexp.MustCompile(`(?i)\b((?:x-amz-(?:security-token|signature)|sig|access_token|token)=)[^&\s"\\]{6,}()`),
}
