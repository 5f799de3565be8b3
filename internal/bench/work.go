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
	// One by one: the memory of this process would count as that of the
	// processes that it starts.
	if err := put(dir, "Dockerfile", workDockerfile); err != nil {
		return err
	}
	if err := put(dir, "busybox", string(program)); err != nil {
		return err
	}
	if err := put(dir, "docker-bake.hcl", w.definition()); err != nil {
		return err
	}
	for i := range w.shared {
		if err := w.fill(dir, fmt.Sprintf("shared/%d/%d.txt", i%20, i), fmt.Sprintf("shared %d\n", i)); err != nil {
			return err
		}
	}
	for i := range w.targets {
		for j := range w.own {
			if err := w.fill(dir, fmt.Sprintf("svc/t%d/%d/%d.txt", i, j/50, j), fmt.Sprintf("%d of %d\n", j, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill writes a file of the work's size.
func (w work) fill(dir, name, text string) error {
	return put(dir, name, text+strings.Repeat(".", max(0, w.size-len(text))))
}

func put(dir, name, text string) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
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
