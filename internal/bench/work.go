package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What is built: targets of one Dockerfile with another argument each, in one
// context, with files that all of them copy and files of their own.

const workDockerfile = `FROM scratch
COPY --chmod=755 busybox /bin/busybox
ARG NAME
COPY shared /shared
COPY svc/$NAME /svc
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo $NAME > /name"]
`

// A work is a directory with such targets.
type work struct {
	targets int
	shared  int // files that every target copies
	own     int // files of each target
	size    int // bytes of each file
	groups  []int
}

// write makes the directory and its definition, with a group for each of the
// numbers in groups.
func (w work) write(dir, busybox string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("%w; scripts/busybox.sh puts one beside kiln", err)
	}
	files := []struct{ name, text string }{
		{"Dockerfile", workDockerfile}, {"busybox", string(program)}, {"docker-bake.hcl", w.definition()},
	}
	add := func(name, text string) {
		files = append(files, struct{ name, text string }{name, text + strings.Repeat(".", max(0, w.size-len(text)))})
	}
	for i := range w.shared {
		add(fmt.Sprintf("shared/%d/%d.txt", i%20, i), fmt.Sprintf("shared %d\n", i))
	}
	for i := range w.targets {
		for j := range w.own {
			add(fmt.Sprintf("svc/t%d/%d/%d.txt", i, j/50, j), fmt.Sprintf("%d of %d\n", j, i))
		}
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// The outputs of a definition, as a variable of it chooses.
const outputs = `variable "OUT" {
  default = "none"
}

variable "REGISTRY" {
  default = ""
}

variable "DIR" {
  default = ""
}

function "output" {
  params = [name]
  result = {
    none     = ["type=cacheonly"]
    store    = []
    registry = ["type=registry,name=${REGISTRY}/${name}:latest"]
    layout   = ["type=oci,tar=false,dest=${DIR}/${name}"]
  }[OUT]
}

`

func (w work) definition() string {
	var text strings.Builder
	text.WriteString(outputs)
	for _, n := range w.groups {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("\"t%d\"", i))
		}
		fmt.Fprintf(&text, "group \"g%d\" {\n  targets = [%s]\n}\n\n", n, strings.Join(names, ", "))
	}
	for i := range w.targets {
		fmt.Fprintf(&text, "target \"t%d\" {\n  args   = { NAME = \"t%d\" }\n  output = output(\"t%d\")\n}\n\n", i, i, i)
	}
	return text.String()
}
