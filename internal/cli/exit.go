package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
)

// The exit codes. Documented, and never reused.
const (
	codeDone        = 0
	codeFailed      = 1   // a target failed
	codeUsage       = 2   // bad usage or bad file; nothing was started
	codeNoBuilder   = 3   // no builder could be reached, or it was lost during the build
	codeInterrupted = 130 // by SIGINT or SIGTERM
)

// An exitError is an error with its exit code.
type exitError struct {
	code int
	err  error
	told bool // the user has seen it already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{code: codeUsage, err: fmt.Errorf(format, args...)}
}

// unwritten is the error of a build whose results could not be written.
func unwritten(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: codeFailed, err: err}
}

func noBuilder(err error) error { return &exitError{code: codeNoBuilder, err: err} }

// flagError words pflag's complaint, with the nearest flag for an unknown one.
func flagError(c *cobra.Command, err error) error {
	near := ""
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		near = didYouMean(unknown.GetSpecifiedName(), names)
	}
	return usagef("%w%s; `%s --help` lists the flags", err, near, c.CommandPath())
}

// didYouMean offers the nearest of the candidates, or nothing.
func didYouMean(name string, candidates []string) string {
	if near := config.Nearest(name, candidates); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}
