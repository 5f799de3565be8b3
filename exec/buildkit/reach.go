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
	inherited := j.inherited.Load()
	return rewriteOps(def, func(dgst string, op *pb.Op) (bool, error) {
		if inherited != nil && (*inherited)[dgst] {
			return false, nil
		}
		if e := op.GetExec(); e != nil {
			return j.confineStep(e)
		}
		return j.confineSource(op.GetSource()), nil
	})
}

// confineStep leaves out of a step what it can do without.
func (j *job) confineStep(e *pb.ExecOp) (bool, error) {
	before := len(e.Mounts) + len(e.Secretenv)
	var err error
	refuse := func(optional bool, kind, id string) bool {
		if !optional && err == nil {
			err = fmt.Errorf("a step needs the %s %q, which the target does not have; give it to the target, in its attribute %s", kind, id, kind)
		}
		return true
	}
	e.Mounts = slices.DeleteFunc(e.Mounts, func(m *pb.Mount) bool {
		switch {
		case m.MountType == pb.MountType_SECRET && !j.hasSecret(m.SecretOpt.GetID()):
			return refuse(m.SecretOpt.GetOptional(), "secret", m.SecretOpt.GetID())
		case m.MountType == pb.MountType_SSH && !j.hasSSH(m.SSHOpt.GetID()):
			return refuse(m.SSHOpt.GetOptional(), "ssh", m.SSHOpt.GetID())
		}
		return false
	})
	e.Secretenv = slices.DeleteFunc(e.Secretenv, func(env *pb.SecretEnv) bool {
		return !j.hasSecret(env.ID) && refuse(env.Optional, "secret", env.ID)
	})
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
