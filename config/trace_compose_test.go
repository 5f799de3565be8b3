package config_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

// Values of Compose files have the lines of their own keys and elements, the
// text with its variables, and where those are from.
func TestTraceCompose(t *testing.T) {
	const compose = `x-args: &shared
  A: ${UNSET:-def}
  LITERAL: "1"
services:
  web:
    build:
      context: ${DIR:-.}
      args:
        <<: *shared
        B: $TAG
      tags: ["web:${TAG}", "web:1"]
  api:
    build:
      args: [X=y, "Y=${FILE}$$z"]
    image: api:${TAG}
  job:
    image: job
    build:
      x-bake: {tags: ["job:${TAG}"], platforms: [linux/amd64]}
`
	in := config.Inputs{
		Env: map[string]string{"TAG": "7"}, Vars: map[string]string{"DIR": "sub"},
		Overrides: []config.Override{{Flag: "--set api.tags+=more", Pattern: "api", Key: "tags", Value: "more", Append: true}},
		Compose: config.ComposeInputs{ReadFile: func(name string) ([]byte, error) {
			if name == ".env" {
				return []byte("FILE=f\nTAG=8\n"), nil
			}
			return nil, fs.ErrNotExist
		}},
	}
	_, tr, diags := config.LoadTrace([]config.File{{Name: "c.yaml", Data: []byte(compose)}}, in)
	if tr == nil {
		t.Fatal(diags)
	}
	var got strings.Builder
	for _, name := range [][2]string{{"web", "context"}, {"web", "args"}, {"web", "tags"}, {"api", "args"}, {"api", "tags"}, {"job", "tags"}, {"job", "platforms"}} {
		got.WriteString(account(tr.Attribute(name[0], name[1])))
	}
	const want = `context (replace) = "sub"
 0 target target "web" c.yaml:7: ${DIR:-.} "sub" won
   DIR = "sub", --var DIR -
args (merge by key) = {"A":"def","B":"7","LITERAL":"1"}
 0 target target "web" c.yaml:8:  {"A":"def","B":"7","LITERAL":"1"} won
   TAG = "7", environment variable TAG -
 [A] "def"
   0 c.yaml:2 ${UNSET:-def}: "def"
     UNSET = , not set -
 [B] "7"
   0 c.yaml:10 $TAG: "7"
     TAG = "7", environment variable TAG -
 [LITERAL] "1"
   0 c.yaml:3 : "1"
tags (replace) = ["web:7","web:1"]
 0 target target "web" c.yaml:11:  ["web:7","web:1"] won
   TAG = "7", environment variable TAG -
args (merge by key) = {"X":"y","Y":"f$z"}
 0 target target "api" c.yaml:14:  {"X":"y","Y":"f$z"} won
   FILE = "f", .env -
 [X] "y"
   0 c.yaml:14 : "y"
 [Y] "f$z"
   0 c.yaml:14 ${FILE}$$z: "f$z"
     FILE = "f", .env -
tags (replace) = ["api:7","more"]
 0 target target "api" c.yaml:15: api:${TAG} ["api:7"] won
   TAG = "7", environment variable TAG -
 1 override --set api.tags+=more -:  ["more"] won
 [] "api:7"
   0 c.yaml:15 api:${TAG}: "api:7"
     TAG = "7", environment variable TAG -
 [] "more"
   1 - : "more"
tags (replace) = ["job:7"]
 0 target target "job" c.yaml:19:  ["job:7"] won
   TAG = "7", environment variable TAG -
platforms (replace) = ["linux/amd64"]
 0 target target "job" c.yaml:19:  ["linux/amd64"] won
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
