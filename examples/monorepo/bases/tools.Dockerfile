FROM golang:1.26
ENV CGO_ENABLED=0 GOCACHE=/cache/go-build GOFLAGS=-trimpath
WORKDIR /src
COPY go.mod ./
COPY lib lib
# The library uses what the services use: the standard library is compiled
# here once, and not again in every service.
RUN go build ./lib/...
