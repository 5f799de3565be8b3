package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSec is the unit of /proc/PID/stat; the same on every Linux that Go
// runs on.
const ticksPerSec = 100

// A daemon is what both tools build on.
type daemon struct {
	pid     int
	address string
	own     bool // kiln's own engine
}

// kiln is a build with kiln.
func (d daemon) kiln(b *bench, args ...string) []string {
	cmd := []string{b.kiln, "build", "--progress=quiet"}
	if !d.own {
		cmd = append(cmd, "--builder", d.address)
	}
	return append(cmd, args...)
}

// bake is a build with buildx.
func (d daemon) bake(b *bench, args ...string) []string {
	name := "stock"
	if d.own {
		name = "own"
	}
	return append([]string{b.buildx, "bake", "--builder", name, "--progress=quiet"}, args...)
}

// onEngine calls fn with kiln's own engine, and stops it afterwards.
func (b *bench) onEngine(ctx context.Context, fn func(daemon) error) (err error) {
	d, err := b.startEngine(ctx)
	if err != nil {
		return err
	}
	defer func() {
		// Also after an interrupt: nothing of ours may stay.
		_, stopErr := b.once(context.WithoutCancel(ctx), b.work, []string{b.kiln, "engine", "stop", "--force"})
		err = errors.Join(err, stopErr)
	}()
	return b.named(ctx, "own", d, fn)
}

// named gives a daemon the name by which buildx finds it, for as long as fn
// takes.
func (b *bench) named(ctx context.Context, name string, d daemon, fn func(daemon) error) error {
	if _, err := b.once(ctx, b.work, []string{b.buildx, "create", "--name", name, "--driver", "remote", d.address}); err != nil {
		return err
	}
	defer b.once(context.WithoutCancel(ctx), b.work, []string{b.buildx, "rm", "--keep-daemon", name}) // its file goes with the directory in any case
	return fn(d)
}

func (b *bench) startEngine(ctx context.Context) (daemon, error) {
	if _, err := b.once(ctx, b.work, []string{b.kiln, "engine", "start"}); err != nil {
		return daemon{}, err
	}
	cmd := osexec.CommandContext(ctx, b.kiln, "engine", "status", "--json")
	cmd.Env = b.env
	out, err := cmd.Output()
	if err != nil {
		return daemon{}, err
	}
	var status struct {
		PID    int    `json:"pid"`
		Socket string `json:"socket"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return daemon{}, err
	}
	if status.PID == 0 || status.Socket == "" {
		return daemon{}, fmt.Errorf("kiln engine status tells neither process nor socket: %s", out)
	}
	return daemon{pid: status.PID, address: "unix://" + status.Socket, own: true}, nil
}

// onStock calls fn with a stock daemon in its default configuration, and stops
// it afterwards.
func (b *bench) onStock(ctx context.Context, fn func(daemon) error) error {
	program, err := findBuildkitd(ctx)
	if err != nil {
		return err
	}
	root := filepath.Join(b.work, "stock")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	config, socket := filepath.Join(root, "buildkitd.toml"), filepath.Join(root, "sock")
	if err := os.WriteFile(config, nil, 0o600); err != nil { // else the machine's own would be read
		return err
	}
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := osexec.Command(program, "--config", config, "--root", filepath.Join(root, "state"), "--addr", "unix://"+socket)
	// It takes the runc that it finds; the one beside kiln is what the engine has.
	cmd.Env = append(slices.Clone(b.env), "PATH="+filepath.Dir(b.kiln)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	defer end(cmd, gone)
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case err := <-gone:
			gone <- err
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("buildkitd: %v: %s", err, text[max(0, len(text)-2000):])
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return b.named(ctx, "stock", daemon{pid: cmd.Process.Pid, address: "unix://" + socket}, fn)
}

// end stops a daemon, patiently at first.
func end(cmd *osexec.Cmd, gone <-chan error) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-gone:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-gone
	}
}

// cpu is the time that the daemon has used so far.
func (d daemon) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.pid))
	if err != nil {
		return 0, err
	}
	// After the name, in parentheses, come state and then numbers; proc(5)
	// counts user time as the 14th field, the name as the second.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, io.ErrUnexpectedEOF
	}
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSec, nil
}

// settle waits until the daemon has nothing left to do, a minute at most.
func (d daemon) settle(ctx context.Context) error {
	last, err := d.cpu()
	if err != nil {
		return err
	}
	for range 60 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		now, err := d.cpu()
		if err != nil {
			return err
		}
		if now-last < 50*time.Millisecond {
			return nil
		}
		last = now
	}
	return nil
}
