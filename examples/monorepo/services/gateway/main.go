// Command gateway passes requests on to the services behind it: /orders/1 to
// the service orders, as /1.
package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"example.com/shop/lib/health"
)

func route(r *httputil.ProxyRequest) {
	service, rest, _ := strings.Cut(strings.TrimPrefix(r.In.URL.Path, "/"), "/")
	r.SetURL(&url.URL{Scheme: "http", Host: service + ":8080"})
	r.Out.URL.Path = "/" + rest
}

func main() {
	health.Serve("gateway", &httputil.ReverseProxy{Rewrite: route, ErrorHandler: unreachable})
}

func unreachable(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusBadGateway)
}
