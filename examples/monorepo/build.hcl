# Six services in two languages. Each directory says what it builds; this file
# says what holds for all.
include "bases/build.hcl" {}
include "services/*/build.hcl" {}

variable "REGISTRY" {
  description = "where the images are named for, with a slash at the end"
  default     = "registry.example.com/shop/"
}

variable "TAG" {
  description = "of every image"
  default     = "latest"
}

# A variant is a stage of the same name in the Dockerfiles.
variant "prod" {
  target = "prod"
  args   = { LDFLAGS = "-s -w" }
}

variant "dev" {
  target = "dev"
  args   = { TAGS = "dev" }
}

function "image" {
  params = [name]
  result = "${REGISTRY}${name}:${TAG}"
}

group "default" {
  targets = ["services", "tests"]
}

group "services" {
  description = "all six, in prod and dev"
  targets     = ["gateway", "orders", "stock", "mail", "report", "web"]
}

group "tests" {
  targets = ["go-test", "python-test"]
}
