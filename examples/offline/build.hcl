# Stand-ins for golang and python, for machines that reach no registry: the
# one from the machine's own Go, the other from Debian's packages. README.md
# tells how another build takes them.

variable "BIN" {
  description = "directory that holds a static busybox"
  default     = "../../bin"
}

variable "GOROOT" {
  description = "the machine's Go, as go env GOROOT tells"
  default     = "/usr/local/go"
}

variable "PYTHON" {
  description = "directory with rootfs.tar and packages.tar, which scripts/python.sh makes"
  default     = "../../.cache/python"
}

target "offline-golang" {
  context  = "golang"
  contexts = { bin = BIN, goroot = GOROOT }
  output   = ["type=cacheonly"]
}

target "offline-python" {
  context  = "python"
  contexts = { bin = BIN, debs = PYTHON }
  output   = ["type=cacheonly"]
}
