package examples

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// offline are the arguments that put local bases in the place of images that
// would be pulled: contexts are further ones, as "TARGET.contexts.NAME=TARGET".
func offline(contexts ...string) []string {
	args := []string{"-f", "build.hcl", "-f", "offline.hcl", "--allow", "fs.read=*"}
	for _, c := range contexts {
		args = append(args, "--set", c)
	}
	return args
}

const (
	golang = ".contexts.golang:1.26=target:offline-golang"
	python = ".contexts.python:3.12=target:offline-python"
)

func wantNames(t *testing.T, b built, want ...string) {
	t.Helper()
	got := slices.Sorted(slices.Values(b.names))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets on standard output:\n%s\n%s", diff, b.stdout)
	}
}

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHello(t *testing.T) {
	b := build(t, "examples/hello", "hello")
	if ok, _ := regexp.MatchString("^hello\tdocker.io/library/hello:latest\tsha256:[0-9a-f]{64}\n$", b.stdout); !ok {
		t.Errorf("got %q", b.stdout)
	}
	root := unpack(t, image(t, "docker.io/library/hello:latest"))
	if got, want := readFile(t, root, "hello.txt"), readFile(t, "hello/hello.txt"); got != want {
		t.Errorf("the image has %q, want %q", got, want)
	}
}

var shop = []string{
	"busybox", "base", "tools", "site-prod", "site-dev", "api-prod", "api-dev", "job-backup", "job-report", "check",
}

func TestScratch(t *testing.T) {
	b := build(t, "examples/scratch", "shop", "--allow", "fs.read=../../bin")
	wantNames(t, b, shop...)
	for variant, coffee := range map[string]bool{"prod": false, "dev": true} {
		_, err := os.Stat(filepath.Join(unpack(t, image(t, "docker.io/shop/site:"+variant)), "srv/coffee.html"))
		if (err == nil) != coffee {
			t.Errorf("site-%s: a page for the draft: %v, want %v", variant, err == nil, coffee)
		}
	}
	page := ask(t, image(t, "docker.io/shop/site:prod"), "http://127.0.0.1:8080/tea.html")
	if !strings.Contains(page[0], "<li>Sencha, 15 a bag</li>") {
		t.Errorf("the site says %q", page)
	}
	prices := ask(t, image(t, "docker.io/shop/api:prod"), "http://127.0.0.1:8081/cgi-bin/prices")
	if got, want := prices[0], `{"assam":12,"sencha":15}`+"\n"; got != want {
		t.Errorf("the API says %q, want %q", got, want)
	}
}

func TestPythonWeb(t *testing.T) {
	build(t, "examples/python-web", "-f", "build.hcl", "-f", "offline.hcl", "--allow", "fs.read=*", "web")
	im := image(t, "docker.io/library/python-web:latest")
	if _, ok := config(t, im).ExposedPorts["8080/tcp"]; !ok {
		t.Error("port 8080 is not exposed")
	}
	got := ask(t, im, "http://127.0.0.1:8080/", "http://127.0.0.1:8080/health")
	if !strings.Contains(got[0], "<h1>Hello from kiln</h1>") || !strings.Contains(got[1], `"ok"`) {
		t.Errorf("the application says %q", got)
	}
}

func TestMonorepo(t *testing.T) {
	var want []string
	for _, service := range []string{"gateway", "orders", "stock", "mail", "report", "web"} {
		want = append(want, service+"-prod", service+"-dev")
	}
	b := build(t, "examples/monorepo", offline("tools"+golang, "python-base-*"+python)...)
	wantNames(t, b, append(want, "go-test", "python-test")...)
	for _, service := range []string{"gateway", "mail"} {
		got := ask(t, image(t, "registry.example.com/shop/"+service+":latest-prod"), "http://127.0.0.1:8080/health")
		if !strings.Contains(got[0], `"status":`) || !strings.Contains(got[0], service) {
			t.Errorf("%s says %q", service, got)
		}
	}
	dev := config(t, image(t, "registry.example.com/shop/stock:latest-dev"))
	if !slices.Contains(dev.Env, "SHOP_DEBUG=1") {
		t.Errorf("the dev image of stock has %v", dev.Env)
	}
	// prod is stripped and stands on nothing.
	prod := unpack(t, image(t, "registry.example.com/shop/stock:latest-prod"))
	if _, err := os.Stat(filepath.Join(prod, "bin", "sh")); err == nil {
		t.Error("the prod image of stock has a shell")
	}
}

func TestRelease(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	prefix := strings.TrimPrefix(server.URL, "http://") + "/greet/"

	b := build(t, "examples/release", append(offline("greet-*"+golang), "--push", "--var", "REGISTRY="+prefix)...)
	wantNames(t, b, "greet-1-4-2", "greet-2-0-0", "greet-2-1-0")

	repo, err := name.NewRepository(prefix+"greet", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repo)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tags)
	if diff := cmp.Diff([]string{"1.4", "1.4.2", "2.0", "2.0.0", "2.1", "2.1.0", "latest"}, tags); diff != "" {
		t.Errorf("tags in the registry: %s", diff)
	}
	idx, err := remote.Index(repo.Tag("latest"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		if d.Platform.OS == "unknown" { // an attestation
			continue
		}
		platforms = append(platforms, d.Platform.String())
		if d.Platform.Architecture == runtime.GOARCH {
			wantGreeting(t, idx, d.Digest)
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms of latest: %s", diff)
	}
}

func wantGreeting(t *testing.T, idx v1.ImageIndex, digest v1.Hash) {
	t.Helper()
	im, err := idx.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	out, err := osexec.CommandContext(t.Context(), filepath.Join(unpack(t, im), "greet")).Output()
	if got, want := string(out), "greet 2.1.0 on linux/"+runtime.GOARCH+"\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// cachedShare finds in the last line of progress how many steps were cached.
var cachedShare = regexp.MustCompile(`(\d+) of (\d+) steps cached`)

// The repository's own build file: what make run does.
func TestRepository(t *testing.T) {
	want := slices.Concat(shop, []string{"hello", "kiln-prod", "kiln-dev", "kiln-check"})
	first := build(t, ".")
	wantNames(t, first, want...)
	second := build(t, ".")
	if diff := cmp.Diff(first.stdout, second.stdout); diff != "" {
		t.Errorf("the second build made other images: %s", diff)
	}
	if m := cachedShare.FindStringSubmatch(second.stderr); m == nil || m[1] != m[2] {
		t.Errorf("not everything was cached the second time:\n%s", second.stderr)
	}
	t.Logf("first %v, second %v", first.took, second.took)

	im := image(t, second.refs["kiln-prod"])
	cfg := config(t, im)
	if got := cfg.Labels["org.opencontainers.image.title"]; got != "kiln" {
		t.Errorf("title %q", got)
	}
	head, err := osexec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Labels["org.opencontainers.image.revision"], strings.TrimSpace(string(head)); got != want {
		t.Errorf("revision %q, want %q", got, want)
	}
	out, err := osexec.CommandContext(t.Context(), filepath.Join(unpack(t, im), "usr/bin/kiln"), "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "kiln ") {
		t.Errorf("the kiln of the image says %q, %v", out, err)
	}
}
