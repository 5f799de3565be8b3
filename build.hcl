# kiln builds its own image, and the examples that pull nothing, with this.
# `make run` puts what it needs into ./bin first.

include "examples/hello/build.hcl" {}
include "examples/scratch/build.hcl" {}

variable "REGISTRY" {
  description = "where images are named for: a registry and a namespace, with a slash at the end"
  default     = ""
}

variable "VERSION" {
  description = "version of kiln; the last tag and what came after it, unless given"
  default     = ""
}

# Tags may hold neither "+" nor "/".
version = VERSION != "" ? VERSION : regex_replace(try(git.describe, "unknown"), "[^0-9A-Za-z._-]", "-")

group "default" {
  targets = ["release", "hello", "shop"]
}

group "release" {
  description = "kiln's own image, tried out"
  targets     = ["kiln", "kiln-check"]
}

# The release image: one static file and nothing else. prod is stripped; dev
# has its symbols, for debuggers and profiles.
target "kiln" {
  description       = "kiln in an image of its own"
  variants         = ["prod"]
  dockerfile-inline = <<EOT
FROM scratch
COPY --from=bin kiln /usr/bin/kiln
COPY LICENSE /usr/share/doc/kiln/
ENTRYPOINT ["/usr/bin/kiln"]
EOT
  contexts = { bin = "bin/release" }
  labels = {
    "org.opencontainers.image.title"    = "kiln"
    "org.opencontainers.image.licenses" = "Apache-2.0"
    "org.opencontainers.image.version"  = version
    "org.opencontainers.image.revision" = try(git.commit, "unknown")
    "org.opencontainers.image.created"  = try(git.time, "unknown")
  }
  tags = ["${REGISTRY}kiln:${version}", "${REGISTRY}kiln:latest"]

  variant "dev" {
    contexts = { bin = "bin" }
    tags     = ["${REGISTRY}kiln:dev"]
  }
}

target "kiln-check" {
  description = "runs the kiln of the image on a definition; makes no image"
  context     = "examples/hello"
  contexts    = { base = "target:busybox", kiln = "target:kiln-prod" }
  dockerfile-inline = <<EOT
FROM base
COPY --from=kiln /usr/bin/kiln /usr/bin/kiln
WORKDIR /work
COPY . .
RUN /usr/bin/kiln version
RUN /usr/bin/kiln build --print hello | grep '"hello:latest"'
EOT
  output = ["type=cacheonly"]
}
