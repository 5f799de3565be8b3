package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

var (
	// ErrNoEngine is returned by Connect, wrapped, when no engine answers.
	ErrNoEngine = errors.New("no Docker Engine could be reached")
	// ErrNoBuildKit is returned, wrapped, for what answers as a Docker Engine
	// does and has no BuildKit: Podman, engines before 18.09, engines of
	// Windows containers.
	ErrNoBuildKit = errors.New("no BuildKit is in it")
)

// An Engine is a Docker Engine that has answered. Goroutines may share it.
type Engine struct {
	Endpoint Endpoint
	Info     Info
	dial     func(context.Context) (net.Conn, error)
	client   *http.Client
}

// Info is what an engine says of itself.
type Info struct {
	Name    string // of the machine
	Version string // "20.10.24"
	OS      string // of its containers: "linux"
	Arch    string // in Go's spelling
	Driver  string // of storage: "overlay2"
	// Containerd says that images are in containerd's store; else they are
	// in the engine's own, which holds no image of several platforms and no
	// attestations.
	Containerd bool
	// Podman says that it is Podman, which answers like a Docker Engine.
	Podman bool
}

// Store says in words where the engine's images are.
func (i Info) Store() string {
	if i.Containerd {
		return "containerd image store"
	}
	return "image store without containerd"
}

// Connect asks the engine at an endpoint what it is. Every error wraps
// ErrNoEngine.
func Connect(ctx context.Context, at Endpoint) (*Engine, error) {
	dial, err := at.dialer()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	e := &Engine{Endpoint: at, dial: dial}
	e.client = &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns:    2,
		IdleConnTimeout: 10 * time.Second,
	}}
	if err := e.hello(ctx); err != nil {
		e.Close()
		return nil, fmt.Errorf("connect to the Docker Engine at %s: %w: %w", at.Host, ErrNoEngine, words(err))
	}
	return e, nil
}

// Close lets go of connections that wait for another request.
func (e *Engine) Close() { e.client.CloseIdleConnections() }

// Dial opens a plain connection to the engine's HTTP interface.
func (e *Engine) Dial(ctx context.Context) (net.Conn, error) { return e.dial(ctx) }

func (e *Engine) hello(ctx context.Context) error {
	var info struct {
		Name, ServerVersion, OSType, Architecture, Driver string
		DriverStatus                                      [][2]string
	}
	header, err := e.get(ctx, "/info", &info)
	if err != nil {
		return err
	}
	e.Info = Info{
		Name: info.Name, Version: info.ServerVersion, OS: info.OSType, Arch: goArch(info.Architecture), Driver: info.Driver,
		Podman: header.Get("Libpod-Api-Version") != "",
	}
	for _, s := range info.DriverStatus {
		if s == [2]string{"driver-type", "io.containerd.snapshotter.v1"} {
			e.Info.Containerd = true
		}
	}
	return nil
}

// goArch spells a machine's architecture, as uname has it, as Go does.
func goArch(s string) string {
	switch s {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return s
}

// get asks for a JSON document.
func (e *Engine) get(ctx context.Context, path string, into any) (http.Header, error) {
	resp, err := e.Do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return resp.Header, json.NewDecoder(resp.Body).Decode(into)
}

// Do sends a request to the engine and returns its answer, whose body the
// caller closes. An answer that is not one of success is an error, with the
// engine's own words.
func (e *Engine) Do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var said struct{ Message string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		said.Message = strings.TrimSpace(string(text))
	}
	return nil, &StatusError{Code: resp.StatusCode, Message: said.Message}
}

// A StatusError is an answer of the engine that says no.
type StatusError struct {
	Code    int    // of HTTP
	Message string // the engine's
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the Docker Engine answers %d: %s", e.Code, e.Message)
}
