//go:build linux

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
)

// The test binary is another kiln when TEST_HELPER names what that one does.
// Its options come by environment, its answer goes to standard output.

type answer struct {
	Status  Status
	Started bool
	Proc    string // /proc/self/status of a RUN step
	Error   string
	NoUser  bool // the error is ErrNoUserns
}

func helperMain(mode string) int {
	Quiet() // as kiln does: BuildKit's session may log at its end that it read what its Close made up
	o, err := DefaultOptions(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // for all that it does
	defer cancel()
	var a answer
	switch mode {
	case "connect":
		a, err = helpBuild(ctx, Connect, o)
	case "build":
		a, err = helpBuild(ctx, Connect, o, run("status"), run("refused"))
	case "in-process":
		a, err = helpBuild(ctx, InProcess, o, run("status"))
	case "sleep": // until it is killed
		a, err = helpBuild(ctx, Connect, o, run("sleep", "10m", mode))
	case "sleep-as-user":
		a, err = helpBuild(ctx, Connect, o, step{args: []string{"/step", "sleep", "10m", mode}, options: []llb.RunOption{llb.User("1234")}})
	case "sleep-in-process":
		a, err = helpBuild(ctx, InProcess, o, run("sleep", "10m", mode))
	case "stop":
		err = Stop(ctx, o, true)
	case "lock":
		f, lockErr := lockState(ctx, o, time.Second)
		if err = lockErr; err == nil {
			fmt.Println("locked")
			<-ctx.Done() // or until it is killed
			f.Close()
		}
	}
	if err != nil {
		a.Error, a.NoUser = err.Error(), errors.Is(err, ErrNoUserns)
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return 1
	}
	return 0
}

func helpBuild(ctx context.Context, reach func(context.Context, Options) (*Engine, error), o Options, steps ...step) (answer, error) {
	e, err := reach(ctx, o)
	if err != nil {
		return answer{}, err
	}
	defer e.Close()
	a := answer{Status: e.Status, Started: e.Started}
	if len(steps) == 0 {
		return a, nil
	}
	c, err := client.New(ctx, "", client.WithContextDialer(e.Dial))
	if err != nil {
		return a, err
	}
	defer c.Close()
	out, err := os.MkdirTemp("", "kiln-out-")
	if err != nil {
		return a, err
	}
	defer os.RemoveAll(out)
	if err := solve(ctx, c, out, func() { fmt.Println("printed") }, steps...); err != nil {
		return a, err
	}
	b, err := os.ReadFile(filepath.Join(out, "status"))
	a.Proc = string(b)
	return a, err
}

// knownRaces lists BuildKit's own data races, as testenv.Races says.
const knownRaces = "../../testdata/races.txt"

// helper is a command of the test binary in another role.
func helper(o Options, mode string) *osexec.Cmd {
	if _, err := stepDir(); err != nil { // for the helper to find
		panic(err)
	}
	races, err := filepath.Abs(knownRaces)
	if err != nil {
		panic(err)
	}
	cmd := osexec.Command("/proc/self/exe")
	if self, err := os.Executable(); err == nil {
		cmd.Path, cmd.Args = self, []string{self}
	}
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "KILN_") }), o.environ()...)
	cmd.Env = append(cmd.Env, "TEST_HELPER="+mode, "TMPDIR="+filepath.Dir(o.StateDir), "GORACE=suppressions="+races)
	return cmd
}

// ask runs a helper to its end.
func ask(t *testing.T, cmd *osexec.Cmd) (answer, error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return answer{}, fmt.Errorf("%w: %s", err, errs.Bytes())
	}
	if errs.Len() > 0 {
		return answer{}, fmt.Errorf("the helper says on standard error: %s", errs.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var a answer
	err := json.Unmarshal([]byte(lines[len(lines)-1]), &a)
	return a, err
}

// startHelper starts a helper and waits for its first line. It is killed at
// the end of the test.
func startHelper(t *testing.T, cmd *osexec.Cmd) *osexec.Cmd {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line := make([]byte, 64)
	if n, err := out.Read(line); err != nil || bytes.HasPrefix(line[:n], []byte("{")) {
		t.Fatalf("the helper says %q, %v", line[:n], err)
	}
	return cmd
}
