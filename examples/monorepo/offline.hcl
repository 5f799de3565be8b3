# kiln build -f build.hcl -f offline.hcl
include "../offline/build.hcl" {}

target "tools" {
  contexts = { "golang:1.26" = "target:offline-golang" }
}

target "python-base" {
  contexts = { "python:3.12" = "target:offline-python" }
}
