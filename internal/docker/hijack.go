package docker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The BuildKit in a Docker Engine speaks over connections that begin as an
// HTTP request and are then something else: /grpc is its service, /session
// the way back, on which it asks kiln for files and credentials.

// BuildKit opens a connection to the engine's BuildKit.
func (e *Engine) BuildKit(ctx context.Context) (net.Conn, error) {
	return e.hijack(ctx, "/grpc", "h2c", nil)
}

// Session opens a connection on which the engine's BuildKit asks the client.
// The protocol and the headers are the session's own.
func (e *Engine) Session(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
	return e.hijack(ctx, "/session", proto, meta)
}

// hijackTime is how long the engine may take to hand a connection over. What
// goes over it later has no limit.
const hijackTime = time.Minute

func (e *Engine) hijack(ctx context.Context, path, proto string, meta map[string][]string) (net.Conn, error) {
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	out, err := upgrade(ctx, conn, path, proto, meta)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s of the Docker Engine: %w", path, err)
	}
	return out, nil
}

// upgrade sends the request and reads its answer. A connection through ssh
// has no deadlines, so it is closed when the time is up.
func upgrade(ctx context.Context, conn net.Conn, path, proto string, meta map[string][]string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, hijackTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		req.Header[k] = meta[k]
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", proto)
	r := bufio.NewReader(conn)
	var resp *http.Response
	if err = req.Write(conn); err == nil {
		resp, err = http.ReadResponse(r, req)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, refusal(resp)
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return &readAhead{Conn: conn, r: r}, nil
}

// refusal words an answer that is not the one that was asked for.
func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("it has no BuildKit: %w", ErrNoBuildKit)
	}
	return fmt.Errorf("it answers %s: %s", resp.Status, strings.TrimSpace(string(text)))
}

// A readAhead is a connection of which some bytes were read already.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c *readAhead) Read(b []byte) (int, error) { return c.r.Read(b) }
