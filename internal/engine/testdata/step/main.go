// Step is what the tests run in RUN steps: it is static and needs no file.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch args[0] {
	case "status": // the seccomp mode and the user's IDs, into /status
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		return os.WriteFile("/status", b, 0o644)
	case "refused": // unshare(CLONE_NEWUSER) is not in the default profile
		if err := syscall.Unshare(syscall.CLONE_NEWUSER); err == nil {
			return fmt.Errorf("unshare was allowed")
		}
		return os.WriteFile("/refused", nil, 0o644)
	case "sleep":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		fmt.Println("sleeping", strings.Join(args[2:], " "))
		time.Sleep(d)
		return os.WriteFile("/slept", nil, 0o644)
	case "fill": // writes until the disk is full, or 1 GB
		f, err := os.Create("/fill")
		if err != nil {
			return err
		}
		for range 1024 {
			if _, err := f.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return f.Close()
	}
	return fmt.Errorf("unknown step %q", args[0])
}
