package buildkit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	kilnconfig "github.com/kilnbuild/kiln/config"
)

// The targets of a run share a session, which offers the secrets and agents
// of them all. So that each reaches its own only, as it would alone, its
// definition asks for no others.

// confine returns a definition of j without the secrets and SSH agents that j
// does not have. What another target has put in stays: it is built, and held.
func (s *Solver) confine(j *job, def *pb.Definition) (*pb.Definition, error) {
	return rewriteOps(def, func(dgst string, op *pb.Op) (bool, error) {
		if j.inherits(dgst) {
			return false, nil
		}
		if e := op.GetExec(); e != nil {
			changed, err := s.creds.confineStep(j, e)
			if err != nil {
				err = located(def, dgst, err)
			}
			return changed, err
		}
		return j.confineSource(op.GetSource()), nil
	})
}

// confineStep leaves out of a step what it can do without and what the run's
// session would give it. What nobody offers stays, so that the step is the
// same as in a build of the target alone, and is found in its cache.
func (c *credentials) confineStep(j *job, e *pb.ExecOp) (bool, error) {
	before := len(e.Mounts) + len(e.Secretenv)
	var err error
	lacks := func(has, optional, offered bool, kind, id string) bool {
		if !has && !optional && err == nil {
			err = fmt.Errorf("a step needs the %s %q, which the target does not have; give it to the target, in its attribute %s", kind, id, kind)
		}
		return !has && offered
	}
	secret := func(id string, optional bool) bool {
		_, offered := c.secrets.by[id]
		return lacks(j.hasSecret(id), optional, offered, "secret", id)
	}
	e.Mounts = slices.DeleteFunc(e.Mounts, func(m *pb.Mount) bool {
		switch m.MountType {
		case pb.MountType_SECRET:
			return secret(m.SecretOpt.GetID(), m.SecretOpt.GetOptional())
		case pb.MountType_SSH:
			id := sshID(kilnconfig.SSH{ID: m.SSHOpt.GetID()})
			_, offered := c.ssh[id]
			return lacks(j.hasSSH(id), m.SSHOpt.GetOptional(), offered, "ssh", id)
		}
		return false
	})
	e.Secretenv = slices.DeleteFunc(e.Secretenv, func(env *pb.SecretEnv) bool { return secret(env.ID, env.Optional) })
	return len(e.Mounts)+len(e.Secretenv) != before, err
}

// confineSource has a git repository fetched without a login and without an
// agent that are another target's.
func (j *job) confineSource(src *pb.SourceOp) bool {
	if src == nil || !strings.HasPrefix(src.Identifier, "git://") {
		return false
	}
	changed := false
	for _, attr := range []string{pb.AttrAuthTokenSecret, pb.AttrAuthHeaderSecret} {
		if name, ok := src.Attrs[attr]; ok && !j.hasLogin(name) {
			delete(src.Attrs, attr)
			changed = true
		}
	}
	if id, ok := src.Attrs[pb.AttrMountSSHSock]; ok && !j.hasSSH(id) {
		delete(src.Attrs, pb.AttrMountSSHSock)
		changed = true
	}
	return changed
}

// hasLogin reports whether the job has a secret of that name for some host.
func (j *job) hasLogin(name string) bool {
	return slices.ContainsFunc(j.req.Secrets, func(s kilnconfig.Secret) bool { return s.ID == name || strings.HasPrefix(s.ID, name+".") }) ||
		slices.ContainsFunc(j.req.Logins, func(l Login) bool { return strings.HasPrefix(l.ID, name+".") })
}

func (j *job) hasSecret(id string) bool {
	return slices.ContainsFunc(j.req.Secrets, func(s kilnconfig.Secret) bool { return s.ID == id })
}

func (j *job) hasSSH(id string) bool {
	id = sshID(kilnconfig.SSH{ID: id})
	return slices.ContainsFunc(j.req.SSH, func(a kilnconfig.SSH) bool { return sshID(a) == id })
}

// inherit notes the operations that come with the targets that j reads.
func (j *job) inherit(f *fed) {
	ops := map[string]bool{}
	for _, def := range f.inputs {
		for _, dt := range def.GetDef() {
			ops[digest.FromBytes(dt).String()] = true
		}
	}
	j.inherited.Store(&ops)
}

// inherits reports whether an operation came with the targets that j reads.
func (j *job) inherits(dgst string) bool {
	ops := j.inherited.Load()
	return ops != nil && (*ops)[dgst]
}
