package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	digest "github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// What is built with a Docker Engine, and what is said of one that cannot.
func TestDocker(t *testing.T) {
	for _, kind := range testenv.DockerKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			d := dockerTest{t: t, engine: kind.Start(t), shell: newShell(t)}
			d.env = append(d.env, "DOCKER_HOST="+d.engine.Host, "DOCKER_CONFIG="+filepath.Join(d.dir, "docker"), "HOME="+d.dir, "XDG_CONFIG_HOME=")
			d.busybox()
			t.Run("images", d.with((*dockerTest).images))
			t.Run("outputs", d.with((*dockerTest).outputs))
			t.Run("names", d.with((*dockerTest).names))
			t.Run("push", d.with((*dockerTest).push))
			t.Run("limits", d.with((*dockerTest).limits))
			t.Run("newer than the engine", d.with((*dockerTest).newer))
			t.Run("many", d.with((*dockerTest).many))
			t.Run("store", d.with((*dockerTest).store))
		})
	}
}

// A dockerTest has an engine, and a directory with a busybox.
type dockerTest struct {
	t      *testing.T
	engine *testenv.Docker
	*shell
}

func (d dockerTest) with(test func(*dockerTest)) func(*testing.T) {
	return func(t *testing.T) {
		sh := *d.shell
		sh.t = t
		test(&dockerTest{t, d.engine, &sh})
	}
}

func (d *dockerTest) busybox() {
	data, err := os.ReadFile(testenv.Busybox(d.t))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "busybox"), data, 0o755); err != nil {
		d.t.Fatal(err)
	}
}

// kiln runs kiln build, and wants these texts in what it says.
func (d *dockerTest) kiln(args string, want ...string) string {
	d.t.Helper()
	out := d.run("kiln build --progress=plain " + args)
	for _, w := range want {
		if !strings.Contains(out, w) {
			d.t.Errorf("kiln build %s: %q is not in\n%s", args, w, out)
		}
	}
	return out
}

// docker returns lines of what the docker command prints.
func (d *dockerTest) docker(args ...string) []string {
	d.t.Helper()
	return strings.Split(strings.TrimSpace(d.engine.Run(d.t, args...)), "\n")
}

// holds wants exactly these images of a repository.
func (d *dockerTest) holds(repository string, tags ...string) {
	d.t.Helper()
	got := d.docker("images", "--format", "{{.Tag}}", repository)
	slices.Sort(got)
	if diff := cmp.Diff(tags, got); diff != "" {
		d.t.Errorf("docker images %s (-want +got):\n%s", repository, diff)
	}
}

const dockerImages = `
group "default" { targets = ["app", "bare"] }
target "base" {
  network = "none"
  dockerfile-inline = "FROM scratch\nCOPY busybox /bin/busybox\nENV PATH=/bin\nRUN [\"busybox\", \"touch\", \"/made\"]\n"
}
target "app" {
  network = "none"
  contexts = { base = "target:base" }
  dockerfile-inline = <<EOT
FROM base
RUN ["busybox", "sh", "-c", "test -e /made && busybox echo app > /app"]
EXPOSE 80/tcp
LABEL who=me
USER 3:4
VOLUME /v
WORKDIR /w
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD ["busybox", "true"]
ENTRYPOINT ["busybox"]
CMD ["cat", "/app"]
EOT
  tags = ["t/app:1", "t/app"]
}
target "bare" {
  network = "none"
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n"
}
target "on" {
  network = "none"
  dockerfile-inline = "FROM t/app:1\nUSER 0:0\nRUN [\"busybox\", \"cat\", \"/app\"]\n"
  tags = ["t/on"]
}
`

// Images come into the engine, as they are said to be.
func (d *dockerTest) images() {
	d.write("build.hcl", dockerImages)
	first := d.kiln("--builder docker --json 2>err", `"target":"app"`)
	d.holds("t/app", "1", "latest")
	second := d.kiln("--builder docker --json 2>err")
	if first != second {
		d.t.Errorf("built again, kiln says\n%s, and not\n%s", second, first)
	}
	if said, err := os.ReadFile(filepath.Join(d.dir, "err")); err != nil || !strings.Contains(string(said), "the Docker Engine ") || !strings.Contains(string(said), "(3 cached)") {
		d.t.Errorf("built again, kiln says %v\n%s", err, said)
	}
	digests := map[string]string{}
	for line := range strings.Lines(first) {
		var r struct{ Target, Digest string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			d.t.Fatalf("%v: %s", err, line)
		}
		digests[r.Target] = r.Digest
	}
	var got []struct {
		ID     string `json:"Id"`
		Config struct {
			User, WorkingDir, StopSignal           string
			Env, Entrypoint, Cmd                   []string
			ExposedPorts, Volumes, Labels, OnBuild any
			Healthcheck                            struct{ Test []string }
		}
	}
	if err := json.Unmarshal([]byte(d.engine.Run(d.t, "image", "inspect", "t/app", digests["bare"])), &got); err != nil {
		d.t.Fatal(err)
	}
	c := got[0].Config
	if got[0].ID != digests["app"] || got[1].ID != digests["bare"] {
		d.t.Errorf("the engine has %s and %s, kiln says %v", got[0].ID, got[1].ID, digests)
	}
	ports, _ := json.Marshal([]any{c.ExposedPorts, c.Volumes, c.Labels})
	have := []string{c.User, c.WorkingDir, c.StopSignal, strings.Join(c.Env, " "), strings.Join(c.Entrypoint, " "), strings.Join(c.Cmd, " "), strings.Join(c.Healthcheck.Test, " "), string(ports)}
	want := []string{"3:4", "/w", "SIGINT", "PATH=/bin", "busybox", "cat /app", "CMD busybox true", `[{"80/tcp":{}},{"/v":{}},{"who":"me"}]`}
	if diff := cmp.Diff(want, have); diff != "" {
		d.t.Errorf("the image's configuration (-want +got):\n%s", diff)
	}
	d.kiln("--builder docker on", "on | built in") // the engine's images are bases
	d.holds("t/on", "latest")
}

// What goes to files goes there, also beside an image; --load costs nothing,
// and an image stays in the cache if that is wanted.
func (d *dockerTest) outputs() {
	d.write("build.hcl", `
target "all" {
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n"
  output = ["type=tar,dest=out.tar", "type=local,dest=out", "type=docker"]
  tags = ["t/all"]
}
target "dir" {
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n"
  output = ["only"]
  tags = ["t/dir"]
}
target "kept" {
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /kept\n"
  tags = ["t/kept"]
}
`)
	d.kiln("--builder docker all dir", "2 targets built", "docker.io/t/all:latest")
	d.holds("t/all", "latest")
	d.holds("t/dir", "")
	for _, name := range []string{"out.tar", "out/build.hcl", "only/build.hcl"} {
		if fi, err := os.Stat(filepath.Join(d.dir, name)); err != nil || fi.Size() == 0 {
			d.t.Errorf("%s was not written: %v", name, err)
		}
	}
	d.run("BUILDX_NO_DEFAULT_LOAD=1 kiln build --builder docker kept")
	d.holds("t/kept", "")
	d.kiln("--builder docker kept --load", "docker.io/t/kept:latest")
	d.holds("t/kept", "latest")
}

// An engine has many names.
func (d *dockerTest) names() {
	d.write("build.hcl", "target \"default\" { dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\" }\n")
	context := func(name, host string) {
		dir := filepath.Join(d.dir, "docker", "contexts", "meta", dockerContextID(name))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			d.t.Fatal(err)
		}
		meta := `{"Name":"` + name + `","Metadata":{},"Endpoints":{"docker":{"Host":"` + host + `","SkipTLSVerify":false}}}`
		if err := os.WriteFile(filepath.Join(dir, "meta.json"), []byte(meta), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	context("here", d.engine.Host)
	context("gone", "unix:///nowhere/docker.sock")
	socket := strings.TrimPrefix(d.engine.Host, "unix://")
	for _, name := range []string{"docker", "docker://", "docker://here", "docker://" + socket, "docker://" + d.engine.Host, "here", "default"} {
		if out := d.run("kiln build --progress=plain --builder " + name); !strings.Contains(out, "the Docker Engine ") || !strings.Contains(out, "1 target built") {
			d.t.Errorf("--builder %s:\n%s", name, out)
		}
	}
	if out := d.run("unset DOCKER_HOST; DOCKER_CONTEXT=here KILN_BUILDER=docker kiln build --progress=plain"); !strings.Contains(out, "at "+d.engine.Host) {
		d.t.Errorf("DOCKER_CONTEXT:\n%s", out)
	}
	d.write("docker/config.json", `{"currentContext":"here"}`)
	if out := d.run("unset DOCKER_HOST; kiln build --progress=plain --builder docker"); !strings.Contains(out, "at "+d.engine.Host) {
		d.t.Errorf("the current context:\n%s", out)
	}
	d.write("config.hcl", "# mine\nbuilder = \"docker://here\"\n")
	if out := d.run("KILN_CONFIG=config.hcl kiln build --progress=plain"); !strings.Contains(out, "the Docker Engine ") {
		d.t.Errorf("the user's configuration:\n%s", out)
	}
	for args, want := range map[string]string{
		"--builder docker://her":                   "there is no such Docker context (did you mean \"here\"?)",
		"--builder her":                            "nor a Docker context (did you mean \"here\"?)",
		"--builder gone":                           "there is no such socket; is Docker installed, and started?",
		"--builder docker://ftp://x":               "is not the address of a Docker Engine",
		"--builder docker://tcp://127.0.0.1:1":     "nobody listens there",
		"--builder docker --builder docker://here": "names the builder docker://here twice",
	} {
		out := d.run("kiln build " + args + "; echo exit code $?")
		code := "exit code 2\n"
		if strings.Contains(want, "socket") || strings.Contains(want, "listens") {
			code = "exit code 3\n"
		}
		if !strings.Contains(out, want) || !strings.HasSuffix(out, code) {
			d.t.Errorf("%s: neither %q nor %q is in\n%s", args, want, code, out)
		}
	}
}

// An image is pushed with its digest, whoever pushes it.
func (d *dockerTest) push() {
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	d.t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	d.write("build.hcl", "target \"app\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\"\n  tags = [\""+host+"/app:1\", \""+host+"/app:2\"]\n}\n")
	out := d.run("kiln build --builder docker --push --json app 2>err")
	var r struct {
		Digest     string
		References []string
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		said, _ := os.ReadFile(filepath.Join(d.dir, "err"))
		d.t.Fatalf("%v: %s\n%s", err, out, said)
	}
	if diff := cmp.Diff([]string{host + "/app:1", host + "/app:2"}, r.References); diff != "" {
		d.t.Errorf("references (-want +got):\n%s", diff)
	}
	for _, tag := range []string{"1", "2"} {
		resp, err := http.Head(reg.URL + "/v2/app/manifests/" + tag)
		if err != nil {
			d.t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Docker-Content-Digest"); got != r.Digest || got == "" {
			d.t.Errorf("the registry has %s as %q, kiln says %s", tag, got, r.Digest)
		}
	}
	reg.Close()
	if out := d.kiln("--builder docker --push app; echo exit code $?", "failed", "push"); !strings.HasSuffix(out, "exit code 1\n") {
		d.t.Errorf("without a registry:\n%s", out)
	}
}

// What an engine cannot do is told with its place before anything starts.
func (d *dockerTest) limits() {
	cases := []struct{ attr, want string }{
		{`platforms = ["linux/amd64", "linux/arm64"]`, "Several platforms not supported"},
		{`attest = ["type=sbom"]`, "Attestations not supported"},
		{`annotations = ["a=b"]`, "Annotations not supported"},
		{`output = ["type=oci,dest=x.tar"]`, "Output not supported"},
		{`output = ["type=docker,dest=x.tar"]`, "Output not supported"},
		{`cache-to = ["type=local,dest=c"]`, "Cache not supported"},
		{`output = ["type=image,name=t/x,push=true,push-by-digest=true"]`, "Push by digest not supported"},
		{`contexts = { x = "oci-layout://layout" }`, "Context not supported"},
		{`contexts = { x = "store://t/x" }`, "Context not supported"},
	}
	for _, c := range cases {
		d.write("build.hcl", "target \"app\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\"\n  "+c.attr+"\n}\n")
		out := d.run("kiln build --builder docker app --progress=plain; echo exit code $?")
		if d.engine.Containerd {
			if strings.Contains(out, c.want) {
				d.t.Errorf("%s is refused:\n%s", c.attr, out)
			}
			continue
		}
		for _, want := range []string{"error: " + c.want, "build.hcl:3:", "the Docker Engine ", "containerd", "exit code 2\n"} {
			if !strings.Contains(out, want) {
				d.t.Errorf("%s: %q is not in\n%s", c.attr, want, out)
			}
		}
	}
	d.write("build.hcl", "target \"app\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\"\n  cache-to = [\"type=gha\", \"type=inline\"]\n}\n")
	d.kiln("--builder docker app", "1 target built") // outside of GitHub's runners there is no such cache
}

// A Dockerfile may say what the engine's BuildKit does not know: it is built
// as it is meant, or not at all.
func (d *dockerTest) newer() {
	d.write("build.hcl", `
target "exclude" {
  dockerfile-inline = "FROM scratch\nCOPY --exclude=*.hcl . /x/\n"
  output = ["exclude"]
}
target "ulimits" {
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n"
  ulimits = ["nofile=10:10"]
}
target "empty" { dockerfile-inline = "FROM scratch\n" }
target "on-empty" {
  contexts = { empty = "target:empty" }
  dockerfile-inline = "FROM empty\nCOPY build.hcl /\n"
  output = ["on-empty"]
}
target "heredoc" {
  network = "none"
  dockerfile-inline = "FROM scratch\nCOPY busybox /bin/sh\nCOPY --link --chmod=600 build.hcl /\nRUN <<EOT\n/bin/sh -c 'echo a > /a'\nEOT\n"
}
`)
	out := d.run("kiln build --builder docker --progress=plain exclude; echo exit code $?")
	_, err := os.Stat(filepath.Join(d.dir, "exclude", "x", "build.hcl"))
	if old := strings.Contains(out, "the BuildKit of the builder is too old"); err == nil || old == strings.HasSuffix(out, "exit code 0\n") || old && !strings.Contains(out, "(inline):2") {
		d.t.Errorf("COPY --exclude (%v):\n%s", err, out)
	}
	d.kiln("--builder docker on-empty heredoc", "3 targets built")
	if entries, err := os.ReadDir(filepath.Join(d.dir, "on-empty")); err != nil || len(entries) != 1 {
		d.t.Errorf("on an empty target there is more than the file: %v %v", entries, err)
	}
	out = d.run("kiln build --builder docker --progress=plain ulimits; echo exit code $?")
	if refused := strings.Contains(out, "Ulimits not supported"); refused == strings.HasSuffix(out, "exit code 0\n") {
		d.t.Errorf("ulimits:\n%s", out)
	}
}

// None of many targets is lost, however busy the engine is.
func (d *dockerTest) many() {
	d.write("build.hcl", "target \"many\" {\n  matrix = { n = range(60) }\n  name = \"many-${n}\"\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /n${n}\\n\"\n  tags = [\"many/n:${n}\"]\n}\n")
	d.kiln("--builder docker many", "60 targets built")
	if got := d.docker("images", "--format", "{{.Tag}}", "many/n"); len(got) != 60 {
		d.t.Errorf("the engine has %d of 60 images", len(got))
	}
}

// An engine with containerd's store reads kiln's.
func (d *dockerTest) store() {
	if !d.engine.Containerd {
		return // see limits
	}
	d.write("build.hcl", `
target "base" {
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /base\n"
  tags = ["kept/base:1"]
}
target "app" {
  contexts = { base = "store://kept/base:1" }
  dockerfile-inline = "FROM base\nCOPY build.hcl /app\n"
  output = ["from-store"]
}
`)
	d.kiln("--builder kiln base", "1 target built")
	d.kiln("--builder docker app", "1 target built")
	if _, err := os.Stat(filepath.Join(d.dir, "from-store", "base")); err != nil {
		d.t.Error(err)
	}
}

// dockerContextID is the directory of a Docker context.
func dockerContextID(name string) string { return digest.FromString(name).Encoded() }
