package buildkit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// TestNetwork knows errors of the network by their text. The first of each
// form is what a daemon has said; see TestNetworkErrors, where one says it.
func TestNetwork(t *testing.T) {
	for _, tt := range []struct {
		text, cause string
		after       time.Duration
	}{
		{"reg:5000/base:1: failed to resolve source metadata for reg:5000/base:1: unexpected status from HEAD request to https://reg:5000/v2/base/manifests/1: 503 Service Unavailable", "reg:5000 answered 503 Service Unavailable", 0},
		{"unexpected status from HEAD request to https://reg/v2/base/manifests/1: 500 Internal Server Error", "reg answered 500 Internal Server Error", 0},
		{"unexpected status from GET request to https://reg/v2/x: 429 Too Many Requests\ntoomanyrequests: retry-after: 1.5s, allowed: 44000/minute", "reg answered 429 Too Many Requests", 1500 * time.Millisecond},
		{"unexpected status from GET request to https://reg/v2/x: 429 Too Many Requests: Retry-After: 30", "reg answered 429 Too Many Requests", 30 * time.Second},
		{"failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://auth.reg/token?scope=x: 502 Bad Gateway", "auth.reg answered 502 Bad Gateway", 0},
		{"unexpected status code [manifests 1]: 503 Service Unavailable", "", 0}, // not of a version that has this
		{"unexpected status code https://reg/v2/x: 504 Gateway Timeout", "reg answered 504 Gateway Timeout", 0},
		{"unexpected status from HEAD request to https://reg/v2/base/manifests/1: 401 Unauthorized", "", 0},
		{"unexpected status from HEAD request to https://reg/v2/base/manifests/1: 403 Forbidden", "", 0},
		{"unexpected status from PUT request to https://reg/v2/x: 507 Insufficient Storage", "", 0},
		{"reg/base:1: not found", "", 0},
		{`failed to do request: Head "https://reg/v2/base/manifests/1": EOF`, "reg broke the connection off", 0},
		{`failed to do request: Head "https://reg/v2/x": dial tcp 10.0.0.1:443: connect: connection refused`, "reg refuses connections", 0},
		{`failed to do request: Head "https://reg/v2/x": read tcp 10.0.0.2:4711->10.0.0.1:443: read: connection reset by peer`, "reg broke the connection off", 0},
		{`failed to do request: Head "https://reg/v2/x": net/http: TLS handshake timeout`, "reg does not answer", 0},
		{`failed to do request: Head "https://reg/v2/x": dial tcp 10.0.0.1:443: i/o timeout`, "reg does not answer", 0},
		{`failed to do request: Head "https://reg/v2/x": dial tcp: lookup reg on 10.0.0.53:53: server misbehaving`, "the address of reg is not known at the moment", 0},
		{`failed to do request: Head "https://reg/v2/x": dial tcp: lookup reg on 10.0.0.53:53: no such host`, "", 0},
		{`failed to do request: Head "https://reg/v2/x": tls: failed to verify certificate: x509: certificate signed by unknown authority`, "", 0},
		{`failed to do request: Head "https://reg/v2/x": http: server gave HTTP response to HTTPS client`, "", 0},
		{"failed to load cache key: invalid response status 502", "the server answered 502 Bad Gateway", 0},
		{"failed to load cache key: invalid response status 404", "", 0},
		{"failed to push reg/app:1: toomanyrequests: slow down", "reg answered 429 Too Many Requests", 0},
		{"failed to push reg/app:1: unavailable: later", "reg answered 503 Service Unavailable", 0},
		{"failed to push reg/app:1: unknown: unknown error", "reg answered 500 Internal Server Error", 0},
		{"failed to push reg/app:1: denied: not yours", "", 0},
		{"failed to push reg/app:1: unknown: repository name not known to registry", "", 0},
		{"failed to push reg/app:1: unauthorized: who are you", "", 0},
		{"error writing config blob: unknown: unknown error", "the registry answered 500 Internal Server Error", 0},
		{"error writing layer blob: denied: no", "", 0},
		{"operation error S3: PutObject, exceeded maximum number of attempts, 3, https response error StatusCode: 503, RequestID: 1, api error SlowDown: Please reduce your request rate.", "the store answered 503 Service Unavailable", 0},
		{"operation error S3: PutObject, https response error StatusCode: 403, RequestID: 1, api error AccessDenied: no", "", 0},
		{"PUT https://a.blob.core.windows.net/c/b\n---\nRESPONSE 500: 500 Internal Server Error\nERROR CODE: InternalError", "the store answered 500 Internal Server Error", 0},
		{"failed to fetch remote https://git/r.git: git stderr:\nfatal: unable to access 'https://git/r.git/': The requested URL returned error: 503\n: exit status 128", "git answered 503 Service Unavailable", 0},
		{"failed to fetch remote https://git/r.git: git stderr:\nfatal: unable to access 'https://git/r.git/': The requested URL returned error: 403\n: exit status 128", "", 0},
		{"failed to fetch remote https://git/r.git: git stderr:\nfatal: unable to access 'https://git/r.git/': Failed to connect to git port 443 after 2 ms: Couldn't connect to server\n: exit status 128", "git refuses connections", 0},
		{"failed to fetch remote https://git/r.git: git stderr:\nfatal: unable to access 'https://git/r.git/': Could not resolve host: git\n: exit status 128", "", 0},
		{"dockerfile parse error on line 2: unknown instruction: EOF", "", 0},
		{`failed to compute cache key: "/EOF": not found`, "", 0},
		{`process "/bin/sh -c make" did not complete successfully: exit code: 1`, "", 0},
	} {
		n := network(errors.New(tt.text), tt.text)
		if n == nil && tt.cause == "" {
			continue
		}
		if n == nil || n.Cause != tt.cause || n.After != tt.after {
			t.Errorf("%s\ngot  %+v\nwant %q, %v", tt.text, n, tt.cause, tt.after)
		}
	}
}

// A command that failed is never the network's fault, whatever it was or has
// printed; what the daemon calls unavailable is.
func TestNetworkTypes(t *testing.T) {
	const text = `process "/bin/sh -c curl unexpected status from GET request to https://reg/x: 503" did not complete successfully: exit code: 22`
	if n := network(fmt.Errorf("solve: %w", &gatewaypb.ExitError{ExitCode: 22, Err: errors.New(text)}), text); n != nil {
		t.Errorf("a failed command is %+v", n)
	}
	if n := network(grpcerrors.WrapCode(errors.New("later\nmore"), codes.Unavailable), "later\nmore"); n == nil || n.Cause != "later" {
		t.Errorf("what is unavailable is %+v", n)
	}
	if n := network(grpcerrors.WrapCode(errors.New("later"), codes.Internal), "later"); n != nil {
		t.Errorf("an internal error is %+v", n)
	}
}
