package buildkit

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/kilnbuild/kiln/exec"
)

// What is an error of the network? Decided here and nowhere else.
//
// The daemon meets the registries, and its errors come over gRPC. The types
// that knew the status (containerd's ErrUnexpectedStatus, Go's net.Error)
// don't: what arrives has the code Unknown and a text. So this is the one
// place that reads the text of errors, by the forms below, each of which
// network_test.go makes a real daemon say. A form that a later daemon words
// in another way costs a retry, nothing else.

// network returns what err says of the network, nil if it is no such error,
// or one that would be the same at the next attempt.
func network(err error, text string) *exec.NetworkError {
	var exit *gatewaypb.ExitError
	if errors.As(err, &exit) {
		return nil // a command has failed, whatever it says
	}
	out := &exec.NetworkError{After: retryAfter(text)}
	for _, f := range networkForms {
		m := f.form.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if out.Cause = f.cause(m); out.Cause == "" {
			return nil
		}
		return out
	}
	if grpcerrors.Code(err) == codes.Unavailable { // and the daemon is there: see checkLost
		out.Cause, _, _ = strings.Cut(text, "\n")
		return out
	}
	return nil
}

// A networkForm is a way to word that something did not get through. Its
// cause is what a person needs of it; "" if trying again would not help.
type networkForm struct {
	form  *regexp.Regexp
	cause func(m []string) string
}

// networkForms are tried in this order.
var networkForms = []networkForm{
	// containerd, of registries and of servers that hand out tokens; beside
	// it, what older ones say.
	{regexp.MustCompile(`unexpected status from \w+ request to (\S+): (\d{3})`), func(m []string) string { return answered(host(m[1]), m[2]) }},
	{regexp.MustCompile(`unexpected status code (\S+): (\d{3})`), func(m []string) string { return answered(host(m[1]), m[2]) }},
	// BuildKit, of what ADD fetches.
	{regexp.MustCompile(`invalid response status (\d{3})`), func(m []string) string { return answered("the server", m[1]) }},
	// The clients of Amazon S3 and Azure Blob Storage, which are caches.
	{regexp.MustCompile(`https response error StatusCode: (\d{3})`), func(m []string) string { return answered("the store", m[1]) }},
	{regexp.MustCompile(`RESPONSE (\d{3}): \d{3}`), func(m []string) string { return answered("the store", m[1]) }},
	// git, of a server that it fetches from.
	{regexp.MustCompile(`unable to access '([^']+)': (.+)`), func(m []string) string { return gitAnswered(host(m[1]), m[2]) }},
	// Go's own words for a request without an answer.
	{regexp.MustCompile(`(?:Get|Head|Post|Put|Patch|Delete) "?(https?://[^"\s]+?)"?: (.+)`), func(m []string) string { return broken(host(m[1]), m[2]) }},
	{regexp.MustCompile(`dial tcp (\S+?): (.+)`), func(m []string) string { return broken(m[1], m[2]) }},
	// A push that a registry refuses with an error of the distribution
	// specification: the status is not told, only the error's code, and
	// "unknown" for many codes. With these words the reference registry sends
	// its 500.
	{regexp.MustCompile(`(?:failed to push (\S+?)|error writing \w+ blob): (toomanyrequests|unavailable|unknown: unknown error)\b`), func(m []string) string {
		from, _, _ := strings.Cut(m[1], "/")
		if from == "" {
			from = "the registry"
		}
		return answered(from, map[string]string{"toomanyrequests": "429", "unavailable": "503", "unknown: unknown error": "500"}[m[2]])
	}},
}

// answered words an HTTP status that may be another the next time.
func answered(who, status string) string {
	code, err := strconv.Atoi(status)
	if err != nil || code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooEarly && code != http.StatusTooManyRequests {
		return ""
	}
	if code == http.StatusNotImplemented || code == http.StatusHTTPVersionNotSupported || code == http.StatusInsufficientStorage {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s answered %d %s", who, code, http.StatusText(code)))
}

var gitStatus = regexp.MustCompile(`The requested URL returned error: (\d{3})`)

func gitAnswered(who, how string) string {
	if m := gitStatus.FindStringSubmatch(how); m != nil {
		return answered(who, m[1])
	}
	return broken(who, how)
}

// brokenWords are how requests end without an answer: in Go's words, and in
// those of the libraries that git uses.
var brokenWords = []struct {
	word, cause string
}{
	{"connection refused", "%s refuses connections"},
	{"Failed to connect", "%s refuses connections"},
	{"connection reset", "%s broke the connection off"},
	{"Recv failure", "%s broke the connection off"},
	{"Empty reply from server", "%s broke the connection off"},
	{"broken pipe", "%s broke the connection off"},
	{"use of closed network connection", "%s broke the connection off"},
	{"server closed idle connection", "%s broke the connection off"},
	{"http2: ", "%s broke the connection off"},
	{"stream error", "%s broke the connection off"},
	{"EOF", "%s broke the connection off"},
	{"TLS handshake timeout", "%s does not answer"},
	{"i/o timeout", "%s does not answer"},
	{"Client.Timeout", "%s does not answer"},
	{"timeout awaiting response headers", "%s does not answer"},
	{"timed out", "%s does not answer"},
	{"no route to host", "there is no way to %s"},
	{"network is unreachable", "there is no way to %s"},
	{"Temporary failure in name resolution", "the address of %s is not known at the moment"},
	{"server misbehaving", "the address of %s is not known at the moment"},
}

// broken words a connection that failed. A name that nobody knows ("no such
// host") or a certificate that is wrong will be so again.
func broken(who, how string) string {
	for _, w := range brokenWords {
		if strings.Contains(how, w.word) {
			return fmt.Sprintf(w.cause, who)
		}
	}
	return ""
}

// host returns the host of a URL, with its port.
func host(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return u.Host
	}
	return "the registry"
}

// askedFor is what some registries say in the text of a 429, and Go and the
// daemon drop from its header.
var askedFor = regexp.MustCompile(`(?i)retry[- ]after: ?(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)?\b`)

// retryAfter returns how long a server asks to be left alone, 0 if it does
// not say. A number without a unit is seconds.
func retryAfter(text string) time.Duration {
	m := askedFor.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	if m[2] == "" {
		m[2] = "s"
	}
	d, err := time.ParseDuration(m[1] + m[2])
	if err != nil {
		return 0
	}
	return d
}
