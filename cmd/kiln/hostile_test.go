package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// What a hostile definition may use up: memory that kiln holds, address
// space, and time. The time is that of a machine with other things to do.
const (
	mostMemory  = 1 << 30
	mostAddress = 16 << 30
	mostTime    = patience
)

// A watched is a folder "work" with a definition, beside a folder "outside"
// of which every opening, reading and writing is noticed.
type watched struct {
	*shell
	outside string
	notify  int
}

func newWatched(t *testing.T, files map[string]string) *watched {
	t.Helper()
	w := &watched{shell: newShell(t)}
	root := w.dir
	w.outside = filepath.Join(root, "outside")
	for name, text := range outsideFiles {
		w.put(filepath.Join("outside", name), text)
	}
	for name, text := range files {
		w.put(filepath.Join("work", name), strings.ReplaceAll(text, "$OUTSIDE", w.outside))
	}
	w.dir = filepath.Join(root, "work")
	w.watch()
	return w
}

// outsideFiles are of every kind that a definition can ask for.
var outsideFiles = map[string]string{
	"secret.txt":         "CANARY\n",
	"Dockerfile":         "FROM scratch\nLABEL canary=CANARY\nCOPY . /\n",
	"build.hcl":          "target \"leak\" { description = \"CANARY\" }\n",
	"docker-compose.yml": "services:\n  leak:\n    image: canary\n    build: .\n",
	"env":                "NAME=CANARY\n",
	".dockerignore":      "CANARY\n",
	"oci/index.json":     `{"schemaVersion":2,"manifests":[]}`,
	"oci/oci-layout":     `{"imageLayoutVersion":"1.0.0"}`,
	"deep/er/file":       "CANARY\n",
}

// put writes a file, or a link if the text is "-> TARGET".
func (w *watched) put(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if to, ok := strings.CutPrefix(text, "-> "); ok {
		err = os.Symlink(to, path)
	} else {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// watch has the kernel tell of all that happens outside.
func (w *watched) watch() {
	w.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(fd) })
	w.notify = fd
	err = filepath.WalkDir(w.outside, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS|unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.touched() // by the walk
}

// touched returns how many things have happened outside since it was asked.
func (w *watched) touched() int {
	w.t.Helper()
	n := 0
	buf := make([]byte, 64<<10)
	for {
		got, err := unix.Read(w.notify, buf)
		if err == unix.EAGAIN || got == 0 {
			return n
		}
		if err != nil {
			w.t.Fatal(err)
		}
		n += got
	}
}

// kiln runs kiln within bounds and returns its exit code and what it said.
func (w *watched) kiln(args ...string) (int, string) {
	w.t.Helper()
	kiln, _ := w.find("kiln")
	ctx, cancel := context.WithTimeout(w.t.Context(), mostTime)
	defer cancel()
	limited := fmt.Sprintf(`ulimit -v %d; exec "$@"`, mostAddress>>10)
	c := osexec.CommandContext(ctx, "sh", append([]string{"-c", limited, "sh", kiln}, args...)...)
	c.Dir, c.Env = w.dir, w.env
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	used := peak(c.Process.Pid)
	_ = c.Wait() // the exit code tells
	if ctx.Err() != nil {
		w.t.Fatalf("kiln %s: not done after %v", strings.Join(args, " "), mostTime)
	}
	if used := used(); used > mostMemory {
		w.t.Errorf("kiln %s: %d MB of memory", strings.Join(args, " "), used>>20)
	}
	return c.ProcessState.ExitCode(), out.String()
}

// refuses runs kiln build and checks that it says why not, and leaves alone
// what is outside.
func (w *watched) refuses(want string, args ...string) {
	w.t.Helper()
	code, out := w.kiln(append([]string{"build"}, args...)...)
	if code != 2 || !strings.Contains(out, want) {
		w.t.Errorf("kiln build %s: exit code %d, want 2; it said\n%s\nwant in it %q", strings.Join(args, " "), code, clipped(out), want)
	}
	w.untouched(out)
}

func (w *watched) untouched(out string) {
	w.t.Helper()
	if strings.Contains(out, "CANARY") {
		w.t.Errorf("kiln shows what is outside:\n%s", clipped(out))
	}
	if n := w.touched(); n > 0 {
		w.t.Errorf("files outside were opened:\n%s", clipped(out))
	}
}

func clipped(s string) string {
	if len(s) > 4000 {
		return s[:2000] + "\n[…]\n" + s[len(s)-2000:]
	}
	return s
}

// A hostileCase asks for something outside; want is what kiln says.
type hostileCase struct {
	files map[string]string
	want  string
}

func one(text, want string) hostileCase {
	return hostileCase{map[string]string{"docker-bake.hcl": text, "Dockerfile": "FROM scratch\nCOPY . /\n"}, want}
}

func with(c hostileCase, more ...string) hostileCase {
	for i := 0; i < len(more); i += 2 {
		c.files[more[i]] = more[i+1]
	}
	return c
}

// readers ask for files outside.
func readers() map[string]hostileCase {
	const target = "target \"default\" {\n  %s\n}\n"
	def := func(line, want string) hostileCase { return one(fmt.Sprintf(target, line), want) }
	return map[string]hostileCase{
		"context":                      def(`context = "../outside"`, "--allow fs.read=../outside"),
		"context, absolute":            def(`context = "$OUTSIDE"`, "--allow fs.read="),
		"context, from the root":       def(`context = "/"`, "--allow fs.read=/"),
		"context, roundabout":          def(`context = "./x/../../outside"`, "--allow fs.read=../outside"),
		"context by cwd":               def(`context = "cwd://../outside"`, "--allow fs.read=../outside"),
		"context by a link":            with(def(`context = "way"`, "--allow fs.read=way"), "way", "-> ../outside"),
		"context through a link":       with(def(`context = "way/deep/er"`, "--allow fs.read=way/deep/er"), "way", "-> ../outside"),
		"context through links":        with(def(`context = "one"`, "--allow fs.read=one"), "one", "-> two", "two", "-> ../outside"),
		"named context":                def(`contexts = { x = "../outside" }`, "--allow fs.read=../outside"),
		"named context by a link":      with(def(`contexts = { x = "way" }`, "--allow fs.read=way"), "way", "-> ../outside"),
		"Dockerfile":                   def(`dockerfile = "../outside/Dockerfile"`, "--allow fs.read=../outside/Dockerfile"),
		"Dockerfile, absolute":         def(`dockerfile = "/etc/passwd"`, "--allow fs.read=/etc/passwd"),
		"Dockerfile by cwd":            def(`dockerfile = "cwd://../outside/Dockerfile"`, "--allow fs.read=../outside/Dockerfile"),
		"Dockerfile by a link":         with(def(`dockerfile = "d"`, "--allow fs.read=d"), "d", "-> ../outside/Dockerfile"),
		"Dockerfile in lower case":     with(def(`dockerfile = "My"`, "--allow fs.read=my"), "my", "-> ../outside/Dockerfile"),
		"ignored files by a link":      with(def("", "--allow fs.read=.dockerignore"), ".dockerignore", "-> ../outside/.dockerignore"),
		"a Dockerfile's ignored":       with(def("", "--allow fs.read=Dockerfile.dockerignore"), "Dockerfile.dockerignore", "-> ../outside/.dockerignore"),
		"secret":                       def(`secret = ["id=a,src=../outside/secret.txt"]`, "--allow fs.read=../outside/secret.txt"),
		"secret by its name":           def(`secret = ["id=../outside/secret.txt"]`, "--allow fs.read=../outside/secret.txt"),
		"secret of the home":           def(`secret = [{ id = "a", src = "${homedir()}/.ssh/id_rsa" }]`, "--allow fs.read="),
		"secret by a link":             with(def(`secret = ["id=a,src=s"]`, "--allow fs.read=s"), "s", "-> ../outside/secret.txt"),
		"SSH key":                      def(`ssh = ["key=../outside/secret.txt"]`, "--allow fs.read=../outside/secret.txt"),
		"SSH agent":                    def(`ssh = ["default"]`, "--allow ssh"),
		"cache":                        def(`cache-from = ["type=local,src=../outside/oci"]`, "--allow fs.read=../outside/oci"),
		"layout":                       def(`contexts = { x = "oci-layout://../outside/oci:latest" }`, "--allow fs.read=../outside/oci"),
		"layout, absolute":             def(`contexts = { x = "oci-layout://$OUTSIDE/oci@sha256:`+strings.Repeat("0", 64)+`" }`, "--allow fs.read="),
		"through what is inherited":    one("target \"a\" { context = \"../outside\" }\ntarget \"default\" { inherits = [\"a\"] }\n", "target default, context"),
		"through a linked target":      one("target \"a\" { context = \"../outside\" }\ntarget \"default\" { contexts = { a = \"target:a\" } }\n", "target a, context"),
		"through a reference":          one("target \"a\" { args = { P = \"../outside\" } }\ntarget \"default\" { context = target.a.args.P }\n", "--allow fs.read=../outside"),
		"include":                      one(`include "../outside/build.hcl" {}`, "--allow fs.read="),
		"include, absolute":            one(`include "/etc/passwd" {}`, "--allow fs.read=/etc/passwd"),
		"include by a pattern":         one(`include "../*/*.hcl" {}`, "is outside"),
		"include of the root":          one(`include "/*/*.hcl" {}`, "is outside"),
		"include, optional":            one("include \"../outside/*.hcl\" { optional = true }", "is outside"),
		"include of a link":            with(one(`include "l.hcl" {}`, "is outside"), "l.hcl", "-> ../outside/build.hcl"),
		"include through a link":       with(one(`include "way/build.hcl" {}`, "is outside"), "way", "-> ../outside"),
		"include through links":        with(one(`include "*/*.hcl" {}`, "Nothing to include"), "way", "-> ../outside"),
		"include of an include":        with(one(`include "a/a.hcl" {}`, "is outside"), "a/a.hcl", `include "../../outside/build.hcl" {}`),
		"include of a device":          with(one(`include "z.hcl" {}`, "is outside"), "z.hcl", "-> /dev/zero"),
		"a link as the file":           {map[string]string{"docker-bake.hcl": "-> ../outside/build.hcl"}, "docker-bake.hcl is a link"},
		"a link as build.hcl":          {map[string]string{"build.hcl": "-> $OUTSIDE/build.hcl"}, "build.hcl is a link"},
		"a link as the Compose file":   {map[string]string{"compose.yml": "-> ../outside/docker-compose.yml"}, "compose.yml is a link"},
		"a device as the file":         {map[string]string{"build.hcl": "-> /dev/zero"}, "build.hcl is a link"},
		"Compose: context":             {map[string]string{"compose.yml": "services:\n  a:\n    build: ../outside\n"}, "--allow fs.read=../outside"},
		"Compose: include":             {map[string]string{"compose.yml": "include:\n  - ../outside/docker-compose.yml\n"}, "is outside"},
		"Compose: include, long":       {map[string]string{"compose.yml": "include:\n  - path: [ok.yml, ../outside/docker-compose.yml]\n", "ok.yml": "services: {}\n"}, "is outside"},
		"Compose: include's env":       {map[string]string{"compose.yml": "include:\n  - path: ok.yml\n    env_file: ../outside/env\n", "ok.yml": "services:\n  a:\n    build: .\n"}, "is outside"},
		"Compose: include's project":   {map[string]string{"compose.yml": "include:\n  - path: ok.yml\n    project_directory: $OUTSIDE\n", "ok.yml": "services:\n  a:\n    build: .\n"}, "is outside"},
		"Compose: include of include":  {map[string]string{"compose.yml": "include: [sub/ok.yml]\n", "sub/ok.yml": "include: [../../outside/docker-compose.yml]\n"}, "is outside"},
		"Compose: include by variable": {map[string]string{"compose.yml": "include: ['${UP:-..}/outside/docker-compose.yml']\n"}, "is outside"},
		"Compose: further variable": {map[string]string{
			"compose.yml": "include:\n  - path: ok.yml\n    env_file: up\n", "up": "UP=../outside\n",
			"ok.yml": "include: ['${UP}/docker-compose.yml']\n",
		}, "without variables"},
		"Compose: second document":  {map[string]string{"compose.yml": "services: {}\n---\ninclude: [../outside/docker-compose.yml]\n"}, "is outside"},
		"Compose: extends":          {map[string]string{"compose.yml": "services:\n  a:\n    extends: { file: ../outside/docker-compose.yml, service: leak }\n"}, "is outside"},
		"Compose: merged extends":   {map[string]string{"compose.yml": "x-e: &e\n  extends: { file: ../outside/docker-compose.yml, service: leak }\nservices:\n  a:\n    <<: *e\n"}, "is outside"},
		"Compose: extends further":  {map[string]string{"compose.yml": "services:\n  a:\n    extends: { file: sub/ok.yml, service: a }\n", "sub/ok.yml": "services:\n  a:\n    extends: { file: ../../outside/docker-compose.yml, service: leak }\n"}, "is outside"},
		"Compose: extends by link":  {map[string]string{"compose.yml": "services:\n  a:\n    extends: { file: l.yml, service: leak }\n", "l.yml": "-> ../outside/docker-compose.yml"}, "is outside"},
		"Compose: env_file":         {map[string]string{"compose.yml": "services:\n  a:\n    build: { context: ., args: [NAME] }\n    env_file: ../outside/env\n"}, "is outside"},
		"Compose: .env by a link":   {map[string]string{"compose.yml": "services:\n  a:\n    build: { context: ., args: { X: '${NAME}' } }\n", ".env": "-> ../outside/env"}, "is outside"},
		"Compose: secret":           {map[string]string{"compose.yml": "services:\n  a:\n    build: { context: ., secrets: [s] }\nsecrets:\n  s: { file: ../outside/secret.txt }\n", "Dockerfile": "FROM scratch\n"}, "--allow fs.read=../outside/secret.txt"},
		"Compose, its name unknown": {map[string]string{"docker-bake.hcl": "target \"default\" {}\n", "def": "include: [../outside/docker-compose.yml]\n"}, ""},
	}
}

func TestHostileReads(t *testing.T) {
	cases := readers()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cases[name]
			w := newWatched(t, c.files)
			w.env = append(w.env, "SSH_AUTH_SOCK="+filepath.Join(w.dir, "agent"))
			if _, ok := c.files["def"]; ok {
				w.refuses(c.want, "-f", "def")
				return
			}
			w.refuses(c.want)
			if code, out := w.kiln("list"); strings.Contains(c.want, "outside") && !strings.Contains(c.want, "--allow") && code != 2 {
				t.Errorf("kiln list: exit code %d\n%s", code, out)
			} else {
				w.untouched(out)
			}
		})
	}
}

// TestHostileControl shows that what is granted is read, and that the watch
// would have noticed.
func TestHostileControl(t *testing.T) {
	for name, args := range map[string][]string{
		"context":          {"build", "--allow", "fs.read=../outside", "--set", "*.output=type=cacheonly"},
		"include":          {"build", "--print", "--allow", "fs.read=../outside"},
		"Compose: include": {"list", "--allow", "fs=../outside"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t, readers()[name].files)
			if name == "include" {
				args = append(args, "leak")
			}
			code, out := w.kiln(args...)
			if code != 0 {
				t.Errorf("exit code %d\n%s", code, out)
			}
			if w.touched() == 0 {
				t.Error("nothing was noticed")
			}
		})
	}
}

// writers ask to write outside.
func writers() map[string]hostileCase {
	def := func(line, want string) hostileCase {
		return one(fmt.Sprintf("target \"default\" {\n  %s\n}\n", line), want)
	}
	return map[string]hostileCase{
		"output":                    def(`output = ["../outside/new"]`, "--allow fs.write=../outside/new"),
		"absolute output":           def(`output = ["$OUTSIDE/new"]`, "--allow fs.write="),
		"output over what is there": def(`output = ["../outside"]`, "--allow fs.write=../outside"),
		"output as an object":       def(`output = [{ type = "local", dest = "../outside/new" }]`, "--allow fs.write=../outside/new"),
		"output far below":          def(`output = ["type=tar,dest=a/b/../../../outside/x.tar"]`, "--allow fs.write=a/b/../../../outside/x.tar"),
		"output by a link":          with(def(`output = ["way"]`, "--allow fs.write=way"), "way", "-> ../outside"),
		"output through a link":     with(def(`output = ["type=oci,dest=way/x.tar"]`, "--allow fs.write=way/x.tar"), "way", "-> ../outside"),
		"output to a dangling link": with(def(`output = ["type=tar,dest=new.tar"]`, "--allow fs.write=new.tar"), "new.tar", "-> ../outside/new.tar"),
		"a layout":                  def(`output = ["type=oci,tar=false,dest=../outside/new"]`, "--allow fs.write=../outside/new"),
		"an archive for docker":     def(`output = ["type=docker,dest=../outside/x.tar"]`, "--allow fs.write=../outside/x.tar"),
		"cache":                     def(`cache-to = ["type=local,dest=../outside/cache"]`, "--allow fs.write=../outside/cache"),
		"deletion":                  def(`output = ["type=local,dest=out,mode=delete"]`, "--allow buildx.local.delete"),
		"the host's network":        def(`network = "host"`, "--allow network.host"),
		"privileges":                def(`entitlements = ["security.insecure"]`, "--allow security.insecure"),
		"devices":                   def(`entitlements = ["device=vendor.com/x=all"]`, "--allow device=vendor.com/x=all"),
	}
}

func TestHostileWrites(t *testing.T) {
	cases := writers()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newWatched(t, cases[name].files).refuses(cases[name].want)
		})
	}
}

// TestHostileResults builds what needs no grant, from folders with links that
// lead outside: they are not followed.
func TestHostileResults(t *testing.T) {
	w := newWatched(t, with(one(`
group "default" { targets = ["read", "write"] }
target "read" {
  dockerfile-inline = "FROM scratch\nCOPY . /all/\n"
  output            = ["type=tar,dest=all.tar"]
}
target "write" {
  dockerfile-inline = "FROM scratch\nCOPY Dockerfile /way/planted\nCOPY Dockerfile /file\n"
  output            = ["out"]
}
target "follow" { dockerfile-inline = "FROM scratch\nCOPY way/secret.txt /\n" }
`, ""), "way", "-> ../outside", "secret", "-> ../outside/secret.txt", "out/way", "-> ../../outside", "out/file", "-> ../../outside/secret.txt").files)
	code, out := w.kiln("build", "--progress=plain", "-k")
	if code != 0 && code != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	w.untouched(out)
	if tar, err := os.ReadFile(filepath.Join(w.dir, "all.tar")); err != nil || strings.Contains(string(tar), "CANARY") {
		t.Errorf("the archive (%v, %d bytes) holds what is outside", err, len(tar))
	}
	if code, out = w.kiln("build", "follow"); code != 1 {
		t.Errorf("a link out of the context: exit code %d\n%s", code, out)
	}
	w.untouched(out)
}

// bombs are definitions that would take all memory or time.
func bombs() map[string]hostileCase {
	nested := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	doubling := "variable \"v0\" { default = \"0123456789abcdef\" }\n"
	for i := 1; i < 60; i++ {
		doubling += fmt.Sprintf("variable \"v%d\" { default = \"${v%d}${v%d}\" }\n", i, i-1, i-1)
	}
	calls := "function \"f0\" {\n  params = [x]\n  result = \"${x}${x}\"\n}\n"
	for i := 1; i < 60; i++ {
		calls += fmt.Sprintf("function \"f%d\" {\n  params = [x]\n  result = f%d(f%d(x))\n}\n", i, i-1, i-1)
	}
	aliases := "x-a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	for i := 1; i < 12; i++ {
		aliases += fmt.Sprintf("x-a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	axes := ""
	for i := range 12 {
		axes += fmt.Sprintf("    a%d = range(100)\n", i)
	}
	inherits := "target \"t0\" {}\n"
	for i := 1; i < 60; i++ {
		inherits += fmt.Sprintf("target \"t%d\" { inherits = [\"t%d\", \"t%d\"] }\n", i, i-1, i-1)
	}
	return map[string]hostileCase{
		"matrix":            one("target \"m\" {\n  name = \"m\"\n  matrix = {\n"+axes+"  }\n}\n", "Too many"),
		"doubling":          one(doubling+"target \"default\" { tags = [v59] }\n", "Too much"),
		"calls":             one(calls+"target \"default\" { tags = [f59(\"x\")] }\n", "error"),
		"brackets":          one("x = "+nested("[", "]", 400_000), "Nested too deeply"),
		"blocks":            one(strings.Repeat("a {\n", 200_000)+strings.Repeat("}\n", 200_000), "Nested too deeply"),
		"templates":         one("x = "+nested("\"${", "}\"", 100_000), "error"),
		"comprehension":     one("x = [for a in range(1000): [for b in range(1000): [for c in range(1000): [for d in range(1000): a]]]]\n", "Too much"),
		"range":             one("x = range(1000000000)\n", "error"),
		"setproduct":        one("r = range(1000)\nx = setproduct(r, r, r, r)\n", "error"),
		"format":            one("x = format(\"%999999999d\", 1)\n", "error"),
		"join":              one("r = [for a in range(1000): \"0123456789\"]\ns = join(join(\"\", r), r)\nx = join(s, r)\n", "error"),
		"regex":             one("x = regexall(\"((((.*)*)*)*)*x\", join(\"\", [for a in range(1000): \"aaaaaaaaaa\"]))\ntarget \"default\" { tags = [x[5000]] }\n", "error"),
		"inherits":          one(inherits+"target \"default\" {\n  inherits = [\"t59\"]\n  context = \"../outside\"\n}\n", "--allow"),
		"JSON":              {map[string]string{"docker-bake.json": `{"x":` + nested("[", "]", 400_000) + "}"}, "error"},
		"YAML":              {map[string]string{"compose.yml": aliases + "services:\n  a:\n    build: { context: ., tags: *a11 }\n"}, "error"},
		"YAML, deep":        {map[string]string{"compose.yml": "services: " + nested("[", "]", 100_000)}, "error"},
		"include of itself": with(one("include \"*.hcl\" {}\n", "Include loop"), "b.hcl", "include \"*.hcl\" {}\n"),
		"Compose: itself":   {map[string]string{"compose.yml": "include: [compose.yml]\n"}, "error"},
	}
}

func TestHostileBombs(t *testing.T) {
	cases := bombs()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			newWatched(t, cases[name].files).refuses(cases[name].want)
		})
	}
}

// TestHostileRemote fetches definitions from a repository that ask for what
// is on this machine.
func TestHostileRemote(t *testing.T) {
	g := testenv.NewGitServer(t)
	w := newWatched(t, map[string]string{"mine.txt": "mine\n"})
	agent, err := net.Listen("unix", filepath.Join(w.outside, "..", "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Close() })
	w.env = append(w.env, "SSH_AUTH_SOCK="+agent.Addr().String())
	repository := func(name string, files map[string]string) string {
		for f, text := range files {
			files[f] = strings.ReplaceAll(text, "$OUTSIDE", w.outside)
		}
		g.Commit(t, name, "main", files)
		return g.URL + "/" + name + ".git"
	}
	def := func(line string) map[string]string {
		return map[string]string{"docker-bake.hcl": fmt.Sprintf("target \"default\" {\n  %s\n}\n", line), "Dockerfile": "FROM scratch\nCOPY . /\n"}
	}
	for i, c := range []struct {
		files map[string]string
		want  string
	}{
		{def(`context = "cwd://../outside"`), "--allow fs.read=../outside"},
		{def(`context = "cwd://$OUTSIDE"`), "--allow fs.read="},
		{def(`contexts = { x = "cwd://../outside" }`), "--allow fs.read=../outside"},
		{def(`dockerfile = "cwd://../outside/Dockerfile"`), "--allow fs.read=../outside/Dockerfile"},
		{def(`secret = ["id=a,src=../outside/secret.txt"]`), "--allow fs.read=../outside/secret.txt"},
		{def(`ssh = ["default"]`), "--allow ssh"},
		{def(`context = "ssh://git@127.0.0.1:1/r.git"`), "--allow ssh"},
		{def(`output = ["../outside/new"]`), "--allow fs.write=../outside/new"},
		{def(`cache-to = ["type=local,dest=$OUTSIDE/new"]`), "--allow fs.write="},
		{def(`cache-from = ["type=local,src=../outside/oci"]`), "--allow fs.read="},
		{def(`contexts = { x = "oci-layout://../outside/oci" }`), "--allow fs.read=../outside/oci"},
		{map[string]string{"docker-bake.hcl": `include "../outside/build.hcl" {}`}, "Include in a remote definition"},
		{map[string]string{"build.hcl": `include "sub/*.hcl" {}`}, "Include in a remote definition"},
		{map[string]string{"docker-bake.hcl": "-> link"}, "error"},
		{map[string]string{"compose.yml": "services:\n  a:\n    build: .\n    env_file: ../outside/env\n"}, "may not name files of this machine"},
		{map[string]string{"compose.yml": "include: [../outside/docker-compose.yml]\n"}, "may not name files of this machine"},
		{map[string]string{"compose.yml": "services:\n  a:\n    extends: { file: ../outside/docker-compose.yml, service: leak }\n"}, "may not name files of this machine"},
		{def(`tags = [git.commit]`), "of which kiln knows no more than its files"},
	} {
		url := repository(fmt.Sprintf("r%d", i), c.files)
		w.refuses(c.want, url)
	}
	// The environment may say otherwise, of remote definitions or of all.
	url := repository("allowed", def(`dockerfile = "cwd://../outside/Dockerfile"`))
	for _, env := range []string{"BAKE_ALLOW_REMOTE_FS_ACCESS=1", "BUILDX_BAKE_ENTITLEMENTS_FS=0"} {
		saved := w.env
		w.env = append(slices.Clone(w.env), env)
		if code, out := w.kiln("build", url); code != 0 || w.touched() == 0 {
			t.Errorf("%s: exit code %d\n%s", env, code, out)
		}
		w.env = saved
	}
	w.env = append(w.env, "BAKE_ALLOW_REMOTE_FS_ACCESS=1", "BUILDX_BAKE_ENTITLEMENTS_FS=1")
	w.refuses("--allow fs.read=../outside/Dockerfile", url)
}
