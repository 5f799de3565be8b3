# kiln build -f build.hcl -f offline.hcl web
include "../offline/build.hcl" {}

target "web" {
  contexts = { "python:3.12" = "target:offline-python" }
}
