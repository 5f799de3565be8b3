# kiln build -f build.hcl -f offline.hcl
include "../offline/build.hcl" {}

target "greet" {
  contexts = { "golang:1.26" = "target:offline-golang" }
}
