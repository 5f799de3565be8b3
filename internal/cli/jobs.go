package cli

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec"
)

// modes are the names that --jobs knows for what a failure means to the rest.
var modes = []struct {
	name string
	mode exec.Mode
}{
	{"fail-fast", exec.FailFast},
	{"defer-error", exec.KeepGoing},
	{"defer-output", exec.DeferOutput},
}

// modeName is the name of a mode.
func modeName(mode exec.Mode) string {
	for _, m := range modes {
		if m.mode == mode {
			return m.name
		}
	}
	return ""
}

// A jobs is the value of --jobs.
type jobs struct {
	parallel int // 0 is no limit
	mode     exec.Mode
	named    bool // the mode was given
}

// parseJobs reads "N", "MODE" or a CSV record of mode=MODE (or a bare mode)
// and parallel=N; blank is the default. Keys may be in any case, modes not.
func parseJobs(spec string) (jobs, error) {
	var j jobs
	if strings.TrimSpace(spec) == "" {
		return j, nil
	}
	if n, err := strconv.Atoi(strings.TrimSpace(spec)); err == nil {
		return jobs{parallel: n}, checkParallel(n)
	}
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return j, fmt.Errorf("--jobs %q: %w", spec, err)
	}
	seen := map[string]bool{}
	for _, f := range fields {
		key, value, ok := strings.Cut(strings.TrimSpace(f), "=")
		if !ok {
			key, value = "mode", key
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if seen[key] {
			return j, fmt.Errorf("--jobs %q gives %s twice", spec, key)
		}
		seen[key] = true
		if err := j.set(key, strings.TrimSpace(value)); err != nil {
			return j, fmt.Errorf("--jobs %q: %w", spec, err)
		}
	}
	return j, nil
}

func (j *jobs) set(key, value string) error {
	switch key {
	case "parallel":
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("parallel takes a whole number, not %q", value)
		}
		j.parallel = n
		return checkParallel(n)
	case "mode":
		var names []string
		for _, m := range modes {
			if m.name == value {
				j.mode, j.named = m.mode, true
				return nil
			}
			names = append(names, m.name)
		}
		return fmt.Errorf("no mode is called %q%s; the modes are %s", value, didYouMean(value, names), strings.Join(names, ", "))
	}
	return fmt.Errorf("unknown key %q%s; it takes mode and parallel", key, didYouMean(key, []string{"mode", "parallel"}))
}

func checkParallel(n int) error {
	if n < 0 {
		return fmt.Errorf("the number of jobs can't be negative: %d", n)
	}
	return nil
}
