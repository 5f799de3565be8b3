package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// kiln and the docker command say the same of the same image.
func TestDockerSeesTheSame(t *testing.T) {
	kinds := testenv.DockerKinds(t)
	engine := kinds[0].Start(t)
	d := dockerTest{t: t, engine: engine, shell: newShell(t)}
	d.env = append(d.env, "DOCKER_HOST=unix:///nowhere", "HOME="+d.dir, "XDG_CONFIG_HOME=")
	d.busybox()
	d.write("build.hcl", dockerImages)
	d.kiln("app", "app | built in")
	d.kiln("app --set app.output=type=docker,dest=app.tar", "app | cached in")
	engine.Run(t, "load", "-i", filepath.Join(d.dir, "app.tar"))

	t.Run("images", func(t *testing.T) {
		format := "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}"
		want := d.docker("images", "--no-trunc", "--format", format, "t/app")
		got := strings.Split(strings.TrimSpace(d.run("kiln images --no-trunc --format '"+format+"' t/app")), "\n")
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("docker has, kiln has (-docker +kiln):\n%s", diff)
		}
		want, got = d.docker("images", "-q", "t/app:1"), strings.Fields(d.run("kiln images -q t/app:1"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("short IDs (-docker +kiln):\n%s", diff)
		}
	})
	t.Run("inspect", func(t *testing.T) {
		var want []dockerInspect
		if err := json.Unmarshal([]byte(engine.Run(t, "image", "inspect", "t/app")), &want); err != nil {
			t.Fatal(err)
		}
		got := inspected(t, d.run("kiln inspect t/app 2>"+os.DevNull))
		if diff := cmp.Diff(want[0], got); diff != "" {
			t.Errorf("inspect (-docker +kiln):\n%s", diff)
		}
	})
	t.Run("history", func(t *testing.T) {
		var want []dockerHistory
		for _, line := range d.docker("history", "--no-trunc", "--human=false", "--format", "{{json .}}", "t/app") {
			var h struct{ CreatedBy, Comment, Size, CreatedAt string }
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				t.Fatal(err)
			}
			size, err := strconv.ParseInt(h.Size, 10, 64)
			at, timeErr := time.Parse(time.RFC3339, h.CreatedAt)
			if err != nil || timeErr != nil {
				t.Fatal(err, timeErr)
			}
			want = append(want, dockerHistory{h.CreatedBy, h.Comment, size, at.Unix()})
		}
		var kiln struct {
			History []struct {
				CreatedBy, Comment string
				Size               int64
				Created            time.Time
			}
		}
		if err := json.Unmarshal([]byte(d.run("kiln history --json t/app 2>"+os.DevNull)), &kiln); err != nil {
			t.Fatal(err)
		}
		var got []dockerHistory
		for _, h := range kiln.History {
			got = append(got, dockerHistory{h.CreatedBy, h.Comment, h.Size, h.Created.Unix()})
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) < 10 {
			t.Errorf("history, newest first (-docker +kiln):\n%s", diff)
		}
	})
}

// A dockerHistory is a line of an image's history.
type dockerHistory struct {
	CreatedBy, Comment string
	Size, Created      int64 // bytes of files; seconds since 1970
}

// A dockerInspect has the fields of `docker image inspect` that are the
// image's, and not the engine's. Its names are compared with the list.
type dockerInspect struct {
	ID               string `json:"Id"`
	Created          time.Time
	Architecture, Os string
	Size             int64
	Config           dockerConfig
	RootFS           struct{ Layers []string }
}

// A dockerConfig is what a container of the image is run with.
type dockerConfig struct {
	User, WorkingDir, StopSignal string
	Env, Entrypoint, Cmd         []string
	ExposedPorts, Volumes        map[string]struct{}
	Labels                       map[string]string
	Healthcheck                  *struct {
		Test     []string
		Interval int64
	}
}

// inspected puts what `kiln inspect` prints in Docker's form.
func inspected(t *testing.T, text string) dockerInspect {
	t.Helper()
	var kiln struct {
		Platforms []struct {
			ID, OS, Architecture string
			Created              time.Time
			Size                 int64
			Config               dockerConfig
			Layers               []struct{ DiffID string }
		}
	}
	if err := json.Unmarshal([]byte(text), &kiln); err != nil || len(kiln.Platforms) != 1 {
		t.Fatalf("kiln inspect: %v\n%s", err, text)
	}
	p := kiln.Platforms[0]
	out := dockerInspect{ID: p.ID, Created: p.Created, Architecture: p.Architecture, Os: p.OS, Size: p.Size, Config: p.Config}
	for _, l := range p.Layers {
		out.RootFS.Layers = append(out.RootFS.Layers, l.DiffID)
	}
	return out
}
