# What the services stand on, and what builds them.

target "tools" {
  description = "compiler and checks for the Go services, with the standard library compiled"
  context     = ".."
  dockerfile  = "bases/tools.Dockerfile"
  tags        = [image("tools")]
}

target "go-base" {
  description = "nothing but a user; in dev a shell and the tools"
  context     = "."
  dockerfile  = "go-base.Dockerfile"
  contexts    = { tools = "target:tools" }
  variants    = ["prod", "dev"]
}

target "python-base" {
  description = "Python with the services' library"
  context     = ".."
  dockerfile  = "bases/python-base.Dockerfile"
  variants    = ["prod", "dev"]
}

# Parents of the services: targets that nobody asks for by name. base is that
# of the service's own variant.
target "go-service" {
  variants   = ["prod", "dev"]
  context    = ".."
  dockerfile = "bases/go-service.Dockerfile"
  contexts   = { tools = "target:tools", base = "target:go-base" }
}

target "python-service" {
  variants   = ["prod", "dev"]
  context    = ".."
  dockerfile = "bases/python-service.Dockerfile"
  contexts   = { base = "target:python-base" }
}

target "go-test" {
  description = "go vet and go test over all Go code; makes no image"
  context     = ".."
  contexts    = { tools = "target:tools" }
  output      = ["type=cacheonly"]

  dockerfile-inline = <<EOT
FROM tools
WORKDIR /src
COPY go.mod ./
COPY lib lib
COPY services services
RUN go vet ./... && go test ./...
EOT
}

target "python-test" {
  description = "the tests of the Python code; makes no image"
  context     = ".."
  contexts    = { base = "target:python-base-dev" }
  output      = ["type=cacheonly"]

  dockerfile-inline = <<EOT
FROM base
WORKDIR /src
COPY services services
RUN for s in mail report web; do python -m unittest discover -s services/$s || exit 1; done
EOT
}
