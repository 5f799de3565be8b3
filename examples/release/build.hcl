# A program in several versions, each for two platforms.

variable "REGISTRY" {
  description = "where to push: registry and namespace, with a slash at the end"
  default     = "registry.example.com/greet/"
}

variable "VERSIONS" {
  description = "what is maintained, oldest first"
  type        = list(string)
  default     = ["1.4.2", "2.0.0", "2.1.0"]

  validation {
    condition     = length(VERSIONS) > 0
    error_message = "There must be a version to release."
  }
}

group "default" {
  targets = ["greet"]
}

# 2.1.0 → 2.1; the last one is also the latest.
function "tags" {
  params = [version]
  result = concat(
    ["${REGISTRY}greet:${version}", "${REGISTRY}greet:${join(".", slice(split(".", version), 0, 2))}"],
    version == VERSIONS[length(VERSIONS) - 1] ? ["${REGISTRY}greet:latest"] : [],
  )
}

target "greet" {
  matrix    = { version = VERSIONS }
  name      = "greet-${replace(version, ".", "-")}"
  args      = { VERSION = version }
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = tags(version)
  labels = {
    "org.opencontainers.image.title"    = "greet"
    "org.opencontainers.image.version"  = version
    "org.opencontainers.image.revision" = try(git.commit, "unknown")
  }
}
