package main

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
)

// What kiln is compared with is built from source, once, into .cache/bin.

// buildxVersion is the one whose behaviour kiln follows.
const buildxVersion = "v0.38.2"

// findBuildx returns the buildx to compare with.
func findBuildx(ctx context.Context, path string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	return tool(ctx, "github.com/docker/buildx", "cmd/buildx", buildxVersion)
}

// findBuildkitd returns a stock daemon of the version that kiln's engine has.
func findBuildkitd(ctx context.Context) (string, error) {
	const module = "github.com/moby/buildkit"
	out, err := osexec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the version of BuildKit: %w", err)
	}
	return tool(ctx, module, "cmd/buildkitd", strings.TrimSpace(string(out)))
}

// tool builds a command of another module, in a module of its own: "go
// install" refuses modules that replace or exclude others.
func tool(ctx context.Context, module, pkg, version string) (string, error) {
	bin, err := filepath.Abs(".cache/bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(bin, filepath.Base(pkg)+"-"+version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "building %s %s, this once\n", filepath.Base(pkg), version)
	dir, err := os.MkdirTemp("", "kiln-bench-tool-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	tmp := path + ".new" // a build that is interrupted leaves no tool
	for _, args := range [][]string{
		{"mod", "init", "tool"},
		{"get", module + "/" + pkg + "@" + version},
		{"build", "-trimpath", "-buildvcs=false", "-o", tmp, module + "/" + pkg},
	} {
		cmd := osexec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: go %s: %w: %s", pkg, args[0], err, out)
		}
	}
	return path, os.Rename(tmp, path)
}
