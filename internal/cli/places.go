package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/platforms"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/image"
	"github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/store"
)

// A placeFlags says how the images are found that a command names.
type placeFlags struct {
	insecure bool
}

func (p *placeFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&p.insecure, "insecure", false, "registries may have any certificate, or none and plain HTTP, as those on this machine may anyway")
}

// checkPlatforms refuses what --platform takes for none.
func checkPlatforms(specs ...string) error {
	for _, spec := range specs {
		if _, err := platforms.Parse(spec); spec != "" && err != nil {
			return usagef("--platform %s: it is no platform, as linux/amd64 or linux/arm/v7 is", spec)
		}
	}
	return nil
}

// resolver returns what finds the images that a command names, in kiln's store
// and elsewhere. It is closed by the caller, after all is read. A store that is
// not there is made only to be written to.
func (a *app) resolver(p placeFlags, write bool) (*image.Resolver, error) {
	dir, err := a.storeDir()
	if err != nil {
		return nil, err
	}
	var s *store.Store
	if _, err := os.Stat(dir); err == nil || write {
		if s, err = store.Open(dir); err != nil {
			return nil, &exitError{code: codeFailed, err: err}
		}
	}
	regs, err := a.registries(p)
	if err != nil {
		return nil, err
	}
	return &image.Resolver{
		Store: s, Registries: regs, Dir: a.dir, Stdin: a.In, Temp: a.env["TMPDIR"],
		Definition: func() string { return a.hereDefined().place },
		Targets:    func() []string { return a.hereDefined().targets },
		Note:       func(text string) { fmt.Fprintf(a.Err, "note: %s\n", text) },
	}, nil
}

// findImage finds the image that a command names, with what has found it, which
// is closed after all is read.
func (a *app) findImage(ctx context.Context, p placeFlags, text string) (*image.Resolver, *image.Image, error) {
	r, err := a.resolver(p, false)
	if err != nil {
		return nil, nil, err
	}
	i, err := r.Find(ctx, text)
	if err != nil {
		r.Close()
		return nil, nil, placeError(err)
	}
	return r, i, nil
}

// registries says how registries are reached.
func (a *app) registries(p placeFlags) (registry.Options, error) {
	logins, err := registry.LoadLogins(a.dockerConfig(), a.authFiles())
	if err != nil {
		return registry.Options{}, usagef("%w", err)
	}
	return registry.Options{Logins: logins, Insecure: p.insecure, Agent: "kiln/" + currentVersion().Version}, nil
}

// authFiles are where Podman and its kin keep credentials, in the order in
// which they count.
func (a *app) authFiles() []string {
	var out []string
	if f := a.env["REGISTRY_AUTH_FILE"]; f != "" {
		out = append(out, f)
	}
	run := a.env["XDG_RUNTIME_DIR"]
	if run == "" {
		run = fmt.Sprintf("/run/containers/%d", os.Getuid())
		out = append(out, filepath.Join(run, "auth.json"))
	} else {
		out = append(out, filepath.Join(run, "containers", "auth.json"))
	}
	config := a.env["XDG_CONFIG_HOME"]
	if config == "" && a.env["HOME"] != "" {
		config = filepath.Join(a.env["HOME"], ".config")
	}
	if config != "" {
		out = append(out, filepath.Join(config, "containers", "auth.json"))
	}
	return out
}

// A defined is what the build file here says of targets, for who looks for
// their images.
type defined struct {
	place   string // as the store notes it; "" if there is no build file
	targets []string
}

// hereDefined reads the build file that a build would. What is wrong with it
// is no matter here.
func (a *app) hereDefined() defined {
	files, err := readDefinitions(fileOptions{dir: a.dir, getenv: a.lookupEnv})
	if err != nil {
		return defined{}
	}
	out := defined{place: diag.Redact(a.home(&definition{files: files}))}
	cfg, _ := config.Load(files, config.Inputs{Env: a.env})
	if cfg == nil {
		return out
	}
	for _, t := range cfg.Targets {
		out.targets = append(out.targets, t.Name)
	}
	return out
}
