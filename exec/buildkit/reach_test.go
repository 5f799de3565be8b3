package buildkit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
)

// TestReach: a target reaches its own secrets and agents, and with the targets
// that it reads what they have done with theirs, but nothing else of the run.
func TestReach(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := withBusybox(t, t.TempDir())
	step := func(from, mount, command string) string {
		return from + "RUN --mount=type=secret," + mount + " " + command + "\n"
	}
	out := "FROM scratch\nCOPY --from=x /f /\n"
	x := strings.Replace(busyboxLines, "FROM scratch", "FROM scratch AS x", 1)
	show := "busybox cat /run/secrets/tok > /f 2>/dev/null || echo none > /f"
	secret := []config.Secret{{ID: "tok", Env: "TOK"}}
	s := &session{dir: dir, mode: exec.KeepGoing, targets: []*config.Target{
		{Name: "has", Secrets: secret, DockerfileInline: step(x, "id=tok", show) + out, Outputs: toDir("has")},
		{Name: "base", Secrets: secret, DockerfileInline: step(busyboxLines, "id=tok,required", show), Outputs: cacheOnly},
		{Name: "reads", Contexts: []config.NamedSource{from("base", "base")}, DockerfileInline: step("FROM base AS x\n", "id=tok", "busybox cat /run/secrets/tok >> /f 2>/dev/null || echo not mine >> /f") + out, Outputs: toDir("reads")},
		{Name: "lacks", DockerfileInline: step(x, "id=tok", show) + out, Outputs: toDir("lacks")},
		{Name: "lacks-env", DockerfileInline: step(x, "id=tok,env=T", "echo ${T:-none} > /f") + out, Outputs: toDir("lacks-env")},
		{Name: "needs", DockerfileInline: step(x, "id=tok,required", show) + out, Outputs: cacheOnly},
	}}
	s.opt.Getenv = func(name string) string { return map[string]string{"TOK": "hidden"}[name] }
	outcomes, _ := s.run(t, t.Context()) // its error is that of needs
	for name, want := range map[string]string{"has": "hidden", "reads": "hiddennot mine\n", "lacks": "none\n", "lacks-env": "none\n"} {
		if err := outcomes[name].Err; err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := read(t, dir, name, "f"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	err := outcomes["needs"].Err
	if err == nil || !strings.Contains(err.Error(), `needs the secret "tok", which the target does not have`) {
		t.Errorf("needs: %v", err)
	}
	var place *exec.SourceError
	if line := 1 + strings.Count(x, "\n"); !errors.As(err, &place) || place.StartLine != line || place.Stage != "x" {
		t.Errorf("needs: the place is %+v, want line %d", place, line)
	}
}
