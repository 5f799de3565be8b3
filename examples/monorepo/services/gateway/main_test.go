package main

import (
	"net/http/httptest"
	"net/http/httputil"
	"testing"
)

func TestRoute(t *testing.T) {
	in := httptest.NewRequest("GET", "/orders/17", nil)
	r := &httputil.ProxyRequest{In: in, Out: in.Clone(in.Context())}
	route(r)
	if got, want := r.Out.URL.String(), "http://orders:8080/17"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
