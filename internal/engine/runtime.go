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
	"strings"
	"time"
)

const runtimeRemedy = "install runc (Debian, Ubuntu: apt-get install runc; Fedora: dnf install runc; Alpine: apk add runc), " +
	"put one beside kiln, or name one with KILN_RUNTIME"

// findRuntime looks for an OCI runtime, which runs the processes of RUN steps: the one asked for, else runc beside
// this executable, else in PATH. One that is there but of no use is passed
// over; the error then says why. One asked for is not replaced by another.
func findRuntime(ctx context.Context, asked string) (string, error) {
	if asked != "" {
		path, err := osexec.LookPath(asked)
		if err != nil {
			return "", fmt.Errorf("%w: KILN_RUNTIME=%q is no program: %s", ErrNoRuntime, asked, runtimeRemedy)
		}
		if err := checkRuntime(ctx, path); err != nil {
			return "", fmt.Errorf("%w: KILN_RUNTIME=%q: %w: %s", ErrNoRuntime, asked, err, runtimeRemedy)
		}
		return filepath.Abs(path)
	}
	var refused []string
	for _, path := range runtimeCandidates() {
		err := checkRuntime(ctx, path)
		if err == nil {
			return filepath.Abs(path)
		}
		refused = append(refused, fmt.Sprintf("%s %v", path, err))
	}
	why := "RUN steps need one, and there is none in PATH"
	if len(refused) > 0 {
		why = strings.Join(refused, "; ")
	}
	return "", fmt.Errorf("%w: %s: %s", ErrNoRuntime, why, runtimeRemedy)
}

// runtimeCandidates are the runtimes that are there, best first.
func runtimeCandidates() []string {
	var list []string
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		if beside, err := osexec.LookPath(filepath.Join(filepath.Dir(self), "runc")); err == nil {
			list = append(list, beside)
		}
	}
	for _, name := range []string{"buildkit-runc", "runc", "crun"} {
		if path, err := osexec.LookPath(name); err == nil {
			list = append(list, path)
		}
	}
	return list
}

// runtimeWait is how long a runtime may take to say what it is: it may have to
// be read from a slow disk on a busy machine.
const runtimeWait = 40 * time.Second

// checkRuntime reports what keeps a runtime from running BuildKit's steps: no
// seccomp, or an older crun that doesn't know the flag --keep, which BuildKit
// gives it.
func checkRuntime(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, runtimeWait)
	defer cancel()
	version, err := output(ctx, path, "--version")
	if err != nil {
		return err
	}
	if bytes.HasPrefix(version, []byte("crun")) {
		help, err := output(ctx, path, "run", "--help")
		if err != nil {
			return err
		}
		if !bytes.Contains(help, []byte("--keep")) {
			return errors.New("is too old a crun: its run has no --keep")
		}
		if !bytes.Contains(version, []byte("+SECCOMP")) {
			return errors.New("was built without seccomp")
		}
		return nil
	}
	return checkSeccomp(ctx, path, version)
}

// checkSeccomp looks for libseccomp in runc's version, else asks for its
// features (1.1 and later).
func checkSeccomp(ctx context.Context, path string, version []byte) error {
	if bytes.Contains(version, []byte("libseccomp:")) {
		return nil
	}
	var features struct {
		Linux struct {
			Seccomp struct{ Enabled bool }
		}
	}
	if b, err := output(ctx, path, "features"); err == nil && json.Unmarshal(b, &features) == nil && features.Linux.Seccomp.Enabled {
		return nil
	}
	return errors.New("was built without seccomp")
}

func output(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := osexec.CommandContext(ctx, path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		return nil, fmt.Errorf("does not work (%s: %w: %s)", strings.Join(args, " "), err, said)
	}
	return out.Bytes(), nil
}
