package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IntoPodman returns a receiver that is the podman command at path, with an
// environment, "NAME=value". The error wraps ErrNoReceiver where it does not
// run.
func IntoPodman(ctx context.Context, path string, env []string) (Receiver, error) {
	p := &podman{path: path, env: env}
	out, err := p.run(ctx, nil, "version", "--format", "{{.Client.Version}}")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReceiver, err)
	}
	p.version = strings.TrimSpace(out)
	return p, nil
}

type podman struct {
	path, version string
	env           []string
}

// String implements Receiver.
func (p *podman) String() string { return "Podman " + p.version }

// Platform implements Receiver.
func (p *podman) Platform() string { return "linux/" + runtime.GOARCH }

// Close implements Receiver.
func (p *podman) Close() error { return nil }

// Load implements Receiver. Podman takes whole archives only.
func (p *podman) Load(ctx context.Context, i *Image, t Tell) (Loaded, error) {
	m, err := i.manifest(ctx, i.Desc)
	if err != nil {
		return Loaded{}, err
	}
	id := m.Manifest.Config.Digest
	out := Loaded{ID: id.String()}
	if names, ok := p.names(ctx, id); ok {
		out.There = true
		i.skipped(append([]ocispec.Descriptor{m.Manifest.Config}, m.Manifest.Layers...), t)
		missing := slices.DeleteFunc(slices.Clone(i.Names), func(n string) bool { return slices.Contains(names, n) })
		if len(missing) > 0 {
			_, err = p.run(ctx, nil, append([]string{"tag", id.Encoded()}, missing...)...)
		}
		return out, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return out, err
	}
	written := make(chan error, 1)
	go func() {
		defer w.Close()
		written <- (&parcelTar{image: i, format: Docker, full: true, tell: t}).write(ctx, w)
	}()
	_, err = p.run(ctx, r, "load", "--quiet")
	r.Close()
	if failed := <-written; failed != nil && err == nil {
		err = failed
	}
	return out, err
}

// names returns the names of an image, and whether it is there.
func (p *podman) names(ctx context.Context, id digest.Digest) ([]string, bool) {
	text, err := p.run(ctx, nil, "image", "inspect", "--format", "{{json .RepoTags}}", id.Encoded())
	if err != nil {
		return nil, false
	}
	var names []string
	return names, json.Unmarshal([]byte(text), &names) == nil
}

// run runs podman and returns what it says.
func (p *podman) run(ctx context.Context, in io.Reader, args ...string) (string, error) {
	cmd := osexec.CommandContext(ctx, p.path, args...)
	cmd.Env = p.env
	cmd.Stdin = in
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		words := strings.TrimSpace(said.String())
		if words == "" {
			return "", fmt.Errorf("podman %s: %w", args[0], err)
		}
		return "", fmt.Errorf("podman %s: %w", args[0], errors.New(words))
	}
	return out.String(), nil
}
