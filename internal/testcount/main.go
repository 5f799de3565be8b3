// Command testcount runs go test and says at the end how many tests ran,
// passed, failed and were skipped.
//
//	go run ./internal/testcount [-skips FILE] -- [GO TEST ARGUMENT]...
//
// Of a passing test it shows nothing, of a failing one all it printed. A
// skipped test is a failure too, so that a machine that lacks something does
// not look like one on which all is well; FILE lists the tests that may skip:
// package and test, a tab, and the reason.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testcount", flag.ContinueOnError)
	flags.SetOutput(stderr)
	skips := flags.String("skips", "", "`file` with the tests that may skip")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	allowed, err := readSkips(*skips)
	if err != nil {
		fmt.Fprintln(stderr, "testcount:", err)
		return 2
	}
	cmd := osexec.CommandContext(ctx, "go", append([]string{"test", "-json"}, flags.Args()...)...)
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(stderr, "testcount:", err)
		return 2
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "testcount:", err)
		return 2
	}
	c := newCount(stdout, allowed)
	readErr := c.read(out)
	return c.end(cmd.Wait(), readErr)
}
