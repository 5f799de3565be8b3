package main

import (
	"bytes"
	"context"
	"fmt"
	osexec "os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A sample is one or several runs of a command: medians.
type sample struct {
	wall time.Duration
	cpu  time.Duration // user and system, of the process and its children
	rss  int64         // most memory held, in bytes
	runs int
}

// measure runs a command in dir as often as the bench asks for, or as the
// limit allows. What is short is run more often, up to five times as often,
// until two seconds are spent: a stall of the machine outlasts several runs of
// 40 ms. Before each, before is called, unless it is nil.
func (b *bench) measure(ctx context.Context, dir string, args []string, before func() error) (sample, error) {
	var all []sample
	for start := time.Now(); len(all) < b.runs || len(all) < 5*b.runs && time.Since(start) < b.steady; {
		if before != nil {
			if err := before(); err != nil {
				return sample{}, err
			}
		}
		s, err := b.once(ctx, dir, args)
		if err != nil {
			return sample{}, err
		}
		all = append(all, s)
		if spent := time.Since(start); spent+spent/time.Duration(len(all)) > b.limit {
			break
		}
	}
	return summary(all), nil
}

// summary is the medians of samples.
func summary(all []sample) sample {
	return sample{
		wall: median(all, func(s sample) time.Duration { return s.wall }),
		cpu:  median(all, func(s sample) time.Duration { return s.cpu }),
		rss:  median(all, func(s sample) int64 { return s.rss }),
		runs: len(all),
	}
}

func median[T time.Duration | int64](all []sample, of func(sample) T) T {
	var values []T
	for _, s := range all {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// once runs a command and fails with the end of what it said if it does.
func (b *bench) once(ctx context.Context, dir string, args []string) (sample, error) {
	cmd := osexec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, b.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		text := stderr.String()
		return sample{}, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, text[max(0, len(text)-2000):])
	}
	s := sample{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), runs: 1}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = int64(usage.Maxrss) << 10 // Linux counts in kilobytes
	}
	return s, nil
}

func ms(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// ratio is how many times as much b is than a.
func ratio[T time.Duration | int64](a, b T) string {
	if a == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f×", float64(b)/float64(a))
}

// noteRuns tells of measurements with fewer runs than asked for.
func (b *bench) noteRuns(s sample) string {
	if s.runs >= b.runs {
		return ""
	}
	return fmt.Sprintf("%d runs", s.runs)
}
