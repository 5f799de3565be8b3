package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"strconv"

	"github.com/google/go-containerregistry/pkg/registry"
)

// A registryServer is a registry in this process's memory.
type registryServer struct {
	host string // as image names begin; daemons speak plain HTTP to localhost
	srv  *http.Server
	done chan struct{}
}

func serveRegistry() (*registryServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registryServer{
		host: "localhost:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port),
		srv:  &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))},
		done: make(chan struct{}),
	}
	go func() {
		defer close(r.done)
		_ = r.srv.Serve(l) // until close
	}()
	return r, nil
}

func (r *registryServer) close() {
	_ = r.srv.Close()
	<-r.done
}
