package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"go.yaml.in/yaml/v3"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// What docs/builders.md and its manifest say is done here.

func document(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{testenv.Root(), "docs"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// passage returns the n-th block of code in a language below a heading.
func passage(t *testing.T, heading, language string, n int) string {
	t.Helper()
	_, section, ok := strings.Cut(document(t, "builders.md"), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(section, -1)
	if !ok || len(blocks) <= n {
		t.Fatalf("docs/builders.md has no block %d of %s below %q", n, language, heading)
	}
	return blocks[n][1]
}

// behindTLS serves an engine on a port, to clients with a certificate.
func behindTLS(t *testing.T, dir string, engine other) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				d, err := net.Dial("unix", strings.TrimPrefix(engine.addr, "unix://"))
				if err != nil {
					return
				}
				defer d.Close()
				wait.Go(func() { io.Copy(d, c); d.Close() })
				io.Copy(c, d)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// The documented commands make certificates that daemon and kiln accept.
func TestDocumentedCertificates(t *testing.T) {
	nodes := engines(t, 2)
	s := newShell(t)
	s.write("build.hcl", "group \"default\" { targets = [\"a\", \"b\", \"c\", \"d\"] }\ntarget \"t\" {\n  matrix = { n = [\"a\", \"b\", \"c\", \"d\"] }\n  name = n\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\"\n  output = [\"out/${n}\"]\n}\n")
	if out := s.run("set -e\n" + passage(t, "TLS", "sh", 0)); strings.Contains(out, "exit status") {
		t.Fatal(out)
	}
	vars, _, _ := strings.Cut(passage(t, "TLS", "sh", 1), "export KILN_BUILDERS")
	where := "KILN_BUILDERS='tcp://localhost:" + behindTLS(t, s.dir, nodes[0]) + " tcp://127.0.0.1:" + behindTLS(t, s.dir, nodes[1]) + "'"
	out := s.run(vars + where + " kiln build --progress=plain; echo exit code $?")
	for _, want := range []string{"2 builders: ", "4 targets built", "| on tcp://localhost:", "| on tcp://127.0.0.1:", "exit code 0\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	out = s.run("export KILN_TLS_CA=ca.pem; " + where + " kiln build --progress=plain; echo exit code $?")
	if strings.Count(out, "asks for a client certificate") != 2 || !strings.HasSuffix(out, "exit code 3\n") {
		t.Errorf("without a client certificate:\n%s", out)
	}
}

// What one builder has built, another finds in the documented cache.
func TestDocumentedCache(t *testing.T) {
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	s := newShell(t)
	s.write("build.hcl", strings.ReplaceAll(passage(t, "A cache that they share", "hcl", 0), "registry.example", host))
	s.write("Dockerfile", "FROM scratch\nCOPY build.hcl /\n")
	for i, node := range engines(t, 2) {
		out := s.run("kiln build app --push --progress=plain --builder " + node.addr)
		if cached := strings.Contains(out, "; 1 of 1 steps cached"); cached != (i == 1) || !strings.Contains(out, "1 target built") {
			t.Errorf("builder %d:\n%s", i, out)
		}
	}
}

// The parts of the manifest that kiln's documentation and a cluster rely on.
// Fields that are not here fail the test: of those that are, all are checked.
type (
	meta struct {
		Name, Namespace string
		Labels          map[string]string
	}
	object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		Data       map[string]string
		Spec       yaml.Node
	}
	service struct {
		ClusterIP string `yaml:"clusterIP"`
		Selector  map[string]string
		Ports     []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
	}
	statefulSet struct {
		ServiceName         string `yaml:"serviceName"`
		Replicas            int
		PodManagementPolicy string `yaml:"podManagementPolicy"`
		Selector            struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata meta
			Spec     struct {
				NodeSelector                  map[string]string `yaml:"nodeSelector"`
				TerminationGracePeriodSeconds int               `yaml:"terminationGracePeriodSeconds"`
				SecurityContext               map[string]int    `yaml:"securityContext"`
				Containers                    []container
				Volumes                       []struct {
					Name      string
					ConfigMap map[string]string `yaml:"configMap"`
					Secret    map[string]string
				}
			}
		}
		VolumeClaimTemplates []struct {
			Metadata meta
			Spec     struct {
				AccessModes []string `yaml:"accessModes"`
				Resources   struct{ Requests map[string]string }
			}
		} `yaml:"volumeClaimTemplates"`
	}
	container struct {
		Name, Image string
		Args        []string
		Ports       []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		ReadinessProbe  probe `yaml:"readinessProbe"`
		LivenessProbe   probe `yaml:"livenessProbe"`
		Resources       struct{ Requests map[string]string }
		SecurityContext struct {
			RunAsUser       int               `yaml:"runAsUser"`
			RunAsGroup      int               `yaml:"runAsGroup"`
			SeccompProfile  map[string]string `yaml:"seccompProfile"`
			AppArmorProfile map[string]string `yaml:"appArmorProfile"`
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	probe struct {
		Exec                struct{ Command []string }
		InitialDelaySeconds int `yaml:"initialDelaySeconds"`
		PeriodSeconds       int `yaml:"periodSeconds"`
		TimeoutSeconds      int `yaml:"timeoutSeconds"`
		FailureThreshold    int `yaml:"failureThreshold"`
	}
)

// manifest reads the objects of a manifest by kind.
func manifest(t *testing.T, text []byte) (set object, spec statefulSet, svc object, svcSpec service, config object) {
	t.Helper()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	for {
		var o object
		err := dec.Decode(&o)
		if errors.Is(err, io.EOF) {
			return set, spec, svc, svcSpec, config
		}
		if err != nil {
			t.Fatal(err)
		}
		strict := func(into any) {
			raw, err := yaml.Marshal(&o.Spec)
			if err != nil {
				t.Fatal(err)
			}
			d := yaml.NewDecoder(bytes.NewReader(raw))
			d.KnownFields(true)
			if err := d.Decode(into); err != nil {
				t.Fatalf("%s %s: %v", o.Kind, o.Metadata.Name, err)
			}
		}
		switch o.APIVersion + " " + o.Kind {
		case "apps/v1 StatefulSet":
			set = o
			strict(&spec)
		case "v1 Service":
			svc = o
			strict(&svcSpec)
		case "v1 ConfigMap":
			config = o
		default:
			t.Errorf("unexpected %s %s", o.APIVersion, o.Kind)
		}
	}
}

func TestKubernetesManifest(t *testing.T) {
	text := []byte(document(t, "kubernetes", "buildkitd.yaml"))
	checkManifest(t, text, "buildkitd", "amd64")
	sed := osexec.Command("sh", "-c", passage(t, "Kubernetes", "sh", 1))
	sed.Dir = testenv.Root()
	other, err := sed.Output()
	if err != nil {
		t.Fatal(err)
	}
	checkManifest(t, other, "buildkitd-arm64", "arm64")
}

func checkManifest(t *testing.T, text []byte, name, arch string) {
	t.Helper()
	set, spec, svc, svcSpec, config := manifest(t, text)
	same := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s is %v, want %v", name, what, got, want)
		}
	}
	pod := spec.Template.Spec
	same("containers", len(pod.Containers), 1)
	c := pod.Containers[0]
	for what, got := range map[string]string{
		"the set": set.Metadata.Name, "the service": svc.Metadata.Name, "the service of the set": spec.ServiceName, "the configuration": config.Metadata.Name,
		"the selector of the set": spec.Selector.MatchLabels["app"], "the label": spec.Template.Metadata.Labels["app"], "the selector of the service": svcSpec.Selector["app"],
		"the container": c.Name,
	} {
		same(what, got, name)
	}
	for _, o := range []object{set, svc, config} {
		same("the namespace of "+o.Kind, o.Metadata.Namespace, "build") // as in the addresses of docs/builders.md
	}
	same("the service's address", svcSpec.ClusterIP, "None")
	same("the port", svcSpec.Ports[0].Port, c.Ports[0].ContainerPort)
	same("the name of the port", svcSpec.Ports[0].TargetPort, c.Ports[0].Name)
	same("the machine", pod.NodeSelector["kubernetes.io/arch"], arch)
	same("the user", c.SecurityContext.RunAsUser, 1000) // of the rootless image
	gomod, err := os.ReadFile(filepath.Join(testenv.Root(), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`github.com/moby/buildkit (v\S+)`).FindSubmatch(gomod)
	same("the image", c.Image, "docker.io/moby/buildkit:"+string(version[1])+"-rootless")
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	var volumes []string
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
		if v.ConfigMap != nil {
			same("the volume of the configuration", v.ConfigMap["name"], config.Metadata.Name)
		}
		if v.Secret != nil {
			same("the secret", v.Secret["secretName"], "buildkitd-certs")
		}
	}
	for _, v := range spec.VolumeClaimTemplates {
		volumes = append(volumes, v.Metadata.Name)
	}
	for volume := range mounts {
		if !slices.Contains(volumes, volume) {
			t.Errorf("%s: the volume %s is mounted, and is not there", name, volume)
		}
	}
	for flag, want := range map[string]string{
		"--config": mounts["config"] + "/buildkitd.toml", "--tlscacert": mounts["certs"] + "/ca.pem",
		"--tlscert": mounts["certs"] + "/server.pem", "--tlskey": mounts["certs"] + "/server.key",
	} {
		if !slices.Contains(c.Args, flag+"="+want) {
			t.Errorf("%s: %s=%s is not in %q", name, flag, want, c.Args)
		}
	}
	if config.Data["buildkitd.toml"] == "" || !slices.Contains(c.Args, "--addr=tcp://0.0.0.0:1234") {
		t.Errorf("%s: no configuration, or no port in %q", name, c.Args)
	}
	secret := passage(t, "Kubernetes", "sh", 0)
	for _, file := range []string{"ca.pem", "server.pem", "server.key"} {
		if !strings.Contains(secret, "--from-file="+file) {
			t.Errorf("the secret of docs/builders.md lacks %s", file)
		}
	}
}
