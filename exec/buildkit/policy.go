package buildkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/graph"
)

// A source policy says which sources a build may read, and which others it
// reads in their place. BuildKit's daemons enforce those that are written in
// BuildKit's own form, as JSON. Those in Rego are for a client that has an
// interpreter of it, which kiln has not.

// policyOf is the policy of a job's build: that of the run, and then its own.
// Of rules that contradict each other the last wins.
func (s *Solver) policyOf(j *job) *spb.Policy {
	if j.policy == nil {
		return s.policy
	}
	if s.policy == nil {
		return j.policy
	}
	return &spb.Policy{Version: s.policy.Version, Rules: slices.Concat(s.policy.Rules, j.policy.Rules)}
}

// preparePolicies reads the policies of the run and of its targets. A target
// has those of the targets that it reads, too: the daemon looks at their
// sources again.
func (s *Solver) preparePolicies(g *graph.Graph) error {
	var errs []error
	if s.opt.Policy != "" {
		pol, err := s.readPolicy(s.opt.Policy)
		s.policy = pol
		errs = append(errs, err)
	}
	for _, n := range g.Nodes() {
		j := s.jobs[n.Name()]
		if j == nil {
			continue // it could not be lowered, see foresee.go
		}
		var files []string
		for _, m := range n.Needs {
			if need := s.jobs[m.Name()]; need != nil {
				files = append(files, need.req.Policies...)
			}
		}
		for _, file := range j.req.Policies {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
		j.req.Policies = files
		for _, err := range j.req.CheckPolicies(s.opt.Dir) {
			errs = append(errs, fmt.Errorf("target %s: %w", j.name, err))
		}
		for _, file := range files {
			pol, err := s.readPolicy(file)
			if err != nil {
				continue // told above
			}
			if j.policy == nil {
				j.policy = &spb.Policy{Version: pol.Version}
			}
			j.policy.Rules = append(j.policy.Rules, pol.Rules...)
		}
	}
	return errors.Join(errs...)
}

// readPolicy reads a policy of the run.
func (s *Solver) readPolicy(path string) (*spb.Policy, error) { return readPolicy(s.abs(path), path) }

// CheckPolicy reports what keeps the file at path from being a source policy
// that daemons take; name is what the user called it.
func CheckPolicy(path, name string) error {
	_, err := readPolicy(path, name)
	return err
}

// CheckPolicies returns what is wrong with the source policies of the target:
// files that are not there or no policies, and one in Rego beside its
// Dockerfile, which bake would load by itself. Relative paths begin in dir.
func (r *Request) CheckPolicies(dir string) []error {
	var errs []error
	for _, name := range r.Policies {
		if err := CheckPolicy(absIn(dir, name), name); err != nil {
			errs = append(errs, err)
		}
	}
	if r.Unguarded || !slices.ContainsFunc(r.Locals, func(m Mount) bool { return m.Name == "dockerfile" }) {
		return errs
	}
	if _, err := os.Stat(absIn(dir, r.Dockerfile) + ".rego"); err == nil {
		errs = append(errs, fmt.Errorf("beside the Dockerfile %s is the source policy %s.rego, which kiln cannot enforce; remove it, or set policy = [{ disabled = true }]", r.Dockerfile, r.Dockerfile))
	}
	return errs
}

// readPolicy reads a policy in JSON or, as BuildKit's tools do, in the form
// that goes over the wire. A key that policies do not have is an error: what
// it was meant to forbid would be allowed.
func readPolicy(path, name string) (*spb.Policy, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the policy %q does not exist", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	pol := &spb.Policy{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	jsonErr := dec.Decode(pol)
	if jsonErr == nil {
		return pol, nil
	}
	pol = &spb.Policy{}
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") || proto.Unmarshal(data, pol) != nil {
		return nil, fmt.Errorf("the policy %q is no source policy of BuildKit: %w", name, jsonErr)
	}
	return pol, nil
}
