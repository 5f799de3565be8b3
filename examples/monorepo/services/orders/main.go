// Command orders keeps orders, in memory.
package main

import (
	"net/http"
	"sync"

	"example.com/shop/lib/health"
)

type orders struct {
	mu  sync.Mutex // guards all
	all []string
}

func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if item := r.FormValue("item"); r.Method == http.MethodPost && item != "" {
		o.all = append(o.all, item)
	}
	health.Reply(w, append([]string{}, o.all...))
}

func main() { health.Serve("orders", &orders{}) }
