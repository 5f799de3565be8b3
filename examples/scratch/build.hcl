# A small web shop from nothing: no image is pulled. The first base holds one
# static busybox, and everything else stands on it.
#
#   busybox ─ base ─┬─ tools ─┬─ site-prod, site-dev ─┬─ check
#                   │         └───────────────────────┤
#                   ├─ api-prod, api-dev ─────────────┘
#                   └─ job-backup, job-report

variable "BIN" {
  description = "directory that holds a static busybox"
  default     = "../../bin"
}

group "shop" {
  description = "every image of the shop, and their test"
  targets     = ["busybox", "base", "tools", "site", "api", "job", "check"]
}

# What prod and dev mean to every target that has them.
variant "prod" {
  args = { MODE = "prod" }
}

variant "dev" {
  args = { MODE = "dev" }
}

target "busybox" {
  description = "a shell and the usual commands, in one static file"
  context     = "base"
  dockerfile  = "busybox.Dockerfile"
  contexts    = { bin = BIN }
  tags        = ["shop/busybox:latest"]
}

target "base" {
  description = "the ground of every service: a user, a place for temporary files"
  context     = "base"
  contexts    = { busybox = "target:busybox" }
  tags        = ["shop/base:latest"]
}

target "tools" {
  description = "what builds and tests; no service contains it"
  context     = "tools"
  contexts    = { base = "target:base" }
  tags        = ["shop/tools:latest"]
}

target "site" {
  description = "the pages, rendered when the image is built"
  context     = "site"
  contexts    = { base = "target:base", tools = "target:tools" }
  variants    = ["prod", "dev"] # dev shows drafts
  tags        = ["shop/site:${variant}"]
}

target "api" {
  description = "prices, as JSON"
  context     = "api"
  contexts    = { base = "target:base" }
  variants    = ["prod", "dev"] # dev answers with its environment too
  tags        = ["shop/api:${variant}"]
}

target "job" {
  description = "what runs at night"
  matrix      = { job = ["backup", "report"] }
  name        = "job-${job}"
  context     = "jobs"
  contexts    = { base = "target:base" }
  args        = { JOB = job }
  tags        = ["shop/job-${job}:latest"]
}

target "check" {
  description = "starts site and api together and asks them questions; makes no image"
  context     = "check"
  contexts = {
    tools = "target:tools"
    site  = "target:site-prod"
    api   = "target:api-prod"
  }
  output = ["type=cacheonly"]
}
