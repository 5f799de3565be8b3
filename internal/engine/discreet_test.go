//go:build linux

package engine

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestLogIsDiscreet(t *testing.T) {
	var b bytes.Buffer
	l := logrus.New()
	l.SetOutput(&b)
	l.SetFormatter(&discreet{logrus.TextFormatter{DisableColors: true, DisableTimestamp: true}})
	for _, tt := range []struct{ in, want string }{
		{"load git source http://user:hunter22@host:80/x.git#main", "load git source http://user:xxxxx@host:80/x.git#main"},
		{"from https://host:5000/v2/a and http://host/b:c", "from https://host:5000/v2/a and http://host/b:c"},
		{"denied: not for Bearer abc.def-123=", "denied: not for Bearer xxxxx"},
		{"authorization: basic dXNlcjpwYXNz", "authorization: basic xxxxx"},
		{"a basic idea", "a basic idea"},
		{"GET http://h/x?X-Amz-Signature=0123456789&b=2", "GET http://h/x?X-Amz-Signature=xxxxx&b=2"},
	} {
		b.Reset()
		l.Info(tt.in)
		if got, want := b.String(), "level=info msg=\""+tt.want+"\"\n"; got != want {
			t.Errorf("%q was logged as %q, want %q", tt.in, got, want)
		}
	}
}

func TestEnvironmentHandedDown(t *testing.T) {
	in := []string{"PATH=/bin", "LC_ALL=C", "https_proxy=http://p", "AWS_SECRET_ACCESS_KEY=s", "AWS_PROFILE=p", "GITHUB_TOKEN=s", "PATHOLOGY=x",
		"BUILDKIT_STEP_LOG_MAX_SIZE=1", "BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY=s", "BUILDKIT_HOST=tcp://user:s@h", "KILN_BUILDER=s", "NOTIFY_SOCKET=x"}
	want := []string{"PATH=/bin", "LC_ALL=C", "https_proxy=http://p", "AWS_PROFILE=p", "BUILDKIT_STEP_LOG_MAX_SIZE=1"}
	if got := environOf(in); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An engine has nothing of its starter's environment but what it works with.
func TestEngineHasNoSecrets(t *testing.T) {
	t.Setenv("SOME_TOKEN", "canary-of-the-starter")
	e := connect(t, optionsIn(t, t.TempDir()))
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", e.Status.PID))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(environ), "KILN_STATE_DIR=") || strings.Contains(string(environ), "canary") {
		t.Errorf("the engine's environment is %q", environ)
	}
}
