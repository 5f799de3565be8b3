package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/progress"
)

// A build that nothing but its builder failed has the code of a missing
// builder; a target that failed by itself, or the user, comes before that.
func TestRunErrorCodes(t *testing.T) {
	lost := fmt.Errorf("target a: %w: unix:///x: it died", buildkit.ErrDaemonLost)
	broken := errors.New("exit code 2")
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name     string
		ctx      context.Context
		outcomes []exec.Outcome
		want     int
	}{
		{"a target failed", t.Context(), []exec.Outcome{{Status: exec.Failed, Err: broken}}, codeFailed},
		{"the builder was lost", t.Context(), []exec.Outcome{{Status: exec.Built}, {Status: exec.Failed, Err: lost}, {Status: exec.Cancelled}}, codeNoBuilder},
		{"both", t.Context(), []exec.Outcome{{Status: exec.Failed, Err: lost}, {Status: exec.Failed, Err: broken}}, codeFailed},
		{"neither", t.Context(), []exec.Outcome{{Status: exec.Cancelled}}, codeFailed},
		{"interrupted", interrupted, []exec.Outcome{{Status: exec.Failed, Err: lost}}, codeInterrupted},
	} {
		var e *exitError
		if err := runError(tt.ctx, broken, tt.outcomes, progress.Plain); !errors.As(err, &e) || e.code != tt.want {
			t.Errorf("%s: got %v, want code %d", tt.name, err, tt.want)
		}
	}
	if err := runError(t.Context(), nil, nil, progress.Plain); err != nil {
		t.Error(err)
	}
}

// What is told of a lost engine leads to its process and its log.
func TestEngineHint(t *testing.T) {
	hint := engineHint(engine.Status{PID: 4711}, "/state/engine.log")
	for _, want := range []string{"4711", "/state/engine.log", "kiln engine stop --force"} {
		if !strings.Contains(hint, want) {
			t.Errorf("%q is not in %q", want, hint)
		}
	}
	if hint := engineHint(engine.Status{InProcess: true, PID: 4711}, "x"); strings.Contains(hint, "4711") {
		t.Error(hint)
	}
}
