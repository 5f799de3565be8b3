package buildkit

import (
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/exec"
)

// recipe says what an operation is made of; it is not ok for one that only
// names the result of a definition.
func (o *trailOp) recipe() (exec.Recipe, bool) {
	r := exec.Recipe{Digest: o.dgst.String(), Kind: exec.RecipeOther, Targets: o.targets, Check: hashed(o.raw)}
	var op pb.Op
	if op.UnmarshalVT(o.raw) != nil || op.Op == nil {
		return r, false
	}
	for _, in := range op.Inputs {
		r.Inputs = append(r.Inputs, exec.RecipeInput{Step: in.Digest})
	}
	switch {
	case op.GetSource() != nil:
		o.source(&r, op.GetSource())
	case op.GetExec() != nil:
		run(&r, op.GetExec())
	case op.GetFile() != nil:
		files(&r, op.GetFile())
	case op.GetMerge() != nil, op.GetDiff() != nil:
		r.Kind = exec.RecipeMerge
	}
	if p := op.Platform; p != nil && r.Kind != exec.RecipeLocal {
		r.Settings = append(r.Settings, "platform="+platforms.FormatAll(ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}))
	}
	r.NoCache = o.meta.GetIgnoreCache()
	r.Check = checkOf(&op, r.Check)
	o.locate(&r)
	o.hide(&r)
	slices.Sort(r.Settings)
	return r, true
}

// checkOf is a checksum of an operation alone, without its inputs and what
// differs from run to run.
func checkOf(op *pb.Op, whole string) string {
	if src, ok := localOf(op); ok {
		return hashed([]byte(src.attrs[pb.AttrExcludePatterns]))
	}
	if len(op.Inputs) == 0 {
		return whole
	}
	op.Inputs = nil
	dt, err := op.MarshalVT()
	if err != nil {
		return ""
	}
	return hashed(dt)
}

// hashed is a short checksum: it tells that something has changed, and is too
// short to find out what it was.
func hashed(b []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli())) }

// locate says where the step is written.
func (o *trailOp) locate(r *exec.Recipe) {
	for _, loc := range o.lines.GetLocations() {
		for _, rng := range loc.Ranges {
			if start := int(rng.GetStart().GetLine()); start > 0 && (r.Line == 0 || start < r.Line) {
				r.File, r.Line = o.file, start
			}
		}
	}
}

// hide takes secrets out.
func (o *trailOp) hide(r *exec.Recipe) {
	r.Command, r.Source = o.redact.text(r.Command), o.redact.text(r.Source)
	for i, e := range r.Env {
		name, value, _ := strings.Cut(e, "=")
		if IsSecretName(name) {
			r.Env[i] = name + "=(hidden " + hashed([]byte(name + "\x00" + value))[:4] + ")"
			continue
		}
		r.Env[i] = o.redact.text(e)
	}
	for i, s := range r.Settings {
		r.Settings[i] = o.redact.text(s)
	}
	for _, in := range r.Inputs {
		for i, p := range in.Paths {
			in.Paths[i] = o.redact.text(p)
		}
	}
}

// sourceKinds are the schemes of sources.
var sourceKinds = []struct {
	scheme string
	kind   exec.RecipeKind
}{
	{"docker-image://", exec.RecipeImage}, {"oci-layout://", exec.RecipeImage}, {localPrefix, exec.RecipeLocal},
	{"git://", exec.RecipeGit}, {"https://", exec.RecipeHTTP}, {"http://", exec.RecipeHTTP},
}

func (o *trailOp) source(r *exec.Recipe, src *pb.SourceOp) {
	r.Source = src.Identifier
	for _, k := range sourceKinds {
		if strings.HasPrefix(src.Identifier, k.scheme) {
			r.Kind = k.kind
			break
		}
	}
	switch r.Kind {
	case exec.RecipeImage:
		_, r.Source, _ = strings.Cut(src.Identifier, "://")
	case exec.RecipeLocal:
		r.Source = o.root
		r.Exclude, _ = patternsIn(src.Attrs[pb.AttrExcludePatterns])
	case exec.RecipeHTTP:
		if sum := src.Attrs[pb.AttrHTTPChecksum]; sum != "" {
			r.Settings = append(r.Settings, "checksum="+sum)
		}
	}
}

func run(r *exec.Recipe, op *pb.ExecOp) {
	r.Kind = exec.RecipeRun
	m := op.Meta
	args := m.GetArgs()
	if len(args) == 3 && strings.HasPrefix(args[1], "-") && strings.HasSuffix(args[1], "c") { // of a shell
		r.Settings = append(r.Settings, "shell="+strings.Join(args[:2], " "))
		args = args[2:]
		r.Command = args[0]
	} else {
		r.Command = quoted(args)
	}
	r.Env = slices.Clone(m.GetEnv())
	set := func(name, value string) {
		if value != "" {
			r.Settings = append(r.Settings, name+"="+value)
		}
	}
	set("directory", m.GetCwd())
	set("user", m.GetUser())
	set("hostname", m.GetHostname())
	if op.Network != pb.NetMode_UNSET {
		set("network", strings.ToLower(op.Network.String()))
	}
	if op.Security != pb.SecurityMode_SANDBOX {
		set("security", strings.ToLower(op.Security.String()))
	}
	for _, h := range m.GetExtraHosts() {
		set("host "+h.Host, h.IP)
	}
	for _, u := range m.GetUlimit() {
		set("ulimit "+u.Name, fmt.Sprintf("%d:%d", u.Soft, u.Hard))
	}
	for _, s := range op.Secretenv {
		set("secret "+s.Name, s.ID)
	}
	for _, d := range op.CdiDevices {
		set("device", d.Name)
	}
	for _, mnt := range op.Mounts {
		mount(r, mnt)
	}
}

// mount adds a mount to the settings, and to an input what of it is read.
func mount(r *exec.Recipe, m *pb.Mount) {
	if m.Dest == pb.RootMount {
		return
	}
	text := strings.ToLower(m.MountType.String())
	switch {
	case m.CacheOpt != nil:
		text += " " + m.CacheOpt.ID
	case m.SecretOpt != nil:
		text += " " + m.SecretOpt.ID
	case m.SSHOpt != nil:
		text += " " + m.SSHOpt.ID
	case m.TmpfsOpt != nil && m.TmpfsOpt.Size > 0:
		text += " " + strconv.FormatInt(m.TmpfsOpt.Size, 10)
	}
	if !m.Readonly && m.MountType == pb.MountType_BIND {
		text += " rw"
	}
	r.Settings = append(r.Settings, "mount "+m.Dest+"="+text)
	if i := int(m.Input); i >= 0 && i < len(r.Inputs) && m.Selector != "" && m.Selector != "/" {
		r.Inputs[i].Paths = append(r.Inputs[i].Paths, m.Selector)
	}
}

// quoted joins the arguments of a command.
func quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'$\\") {
			out[i] = strconv.Quote(a)
		}
	}
	return strings.Join(out, " ")
}

func files(r *exec.Recipe, op *pb.FileOp) {
	r.Kind = exec.RecipeFile
	var lines []string
	for _, a := range op.Actions {
		var line string
		switch {
		case a.GetCopy() != nil:
			line = copied(r, a.GetCopy(), int(a.SecondaryInput))
		case a.GetMkfile() != nil:
			f := a.GetMkfile()
			line = fmt.Sprintf("write %s: %d bytes, checksum %s%s", f.Path, len(f.Data), hashed(f.Data), attributes(f.Mode, "", f.Owner))
		case a.GetMkdir() != nil:
			d := a.GetMkdir()
			line = "make " + d.Path + attributes(d.Mode, "", d.Owner)
		case a.GetRm() != nil:
			line = "remove " + a.GetRm().Path
		case a.GetSymlink() != nil:
			line = "link " + a.GetSymlink().Newpath + " to " + a.GetSymlink().Oldpath
		}
		lines = append(lines, line)
	}
	r.Command = strings.Join(lines, "\n")
}

// copied tells of a copy, and adds to the input that it reads what of it.
func copied(r *exec.Recipe, c *pb.FileActionCopy, input int) string {
	paths := []string{c.Src}
	if len(c.IncludePatterns) > 0 {
		paths = nil
		for _, p := range c.IncludePatterns {
			paths = append(paths, path.Join(c.Src, p))
		}
	}
	if input >= 0 && input < len(r.Inputs) {
		r.Inputs[input].Paths = append(r.Inputs[input].Paths, paths...)
	}
	text := "copy " + strings.Join(paths, " ") + " to " + c.Dest + attributes(c.Mode, c.ModeStr, c.Owner)
	if len(c.ExcludePatterns) > 0 {
		text += " without " + strings.Join(c.ExcludePatterns, " ")
	}
	if c.AttemptUnpackDockerCompatibility {
		text += " unpacked"
	}
	return text
}

// attributes tells of an owner and a mode that are not the usual.
func attributes(mode int32, modeText string, owner *pb.ChownOpt) string {
	var out string
	switch {
	case modeText != "":
		out += " mode " + modeText
	case mode > 0:
		out += fmt.Sprintf(" mode %o", mode)
	}
	user, group := userText(owner.GetUser()), userText(owner.GetGroup())
	if user+group != "" {
		out += " owner " + strings.TrimSuffix(user+":"+group, ":")
	}
	return out
}

func userText(u *pb.UserOpt) string {
	if u == nil {
		return ""
	}
	if name := u.GetByName(); name != nil {
		return name.Name
	}
	return strconv.FormatUint(uint64(u.GetByID()), 10)
}
