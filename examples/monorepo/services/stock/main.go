// Command stock says how much there is of what.
package main

import (
	"net/http"
	"strings"

	"example.com/shop/lib/health"
)

var amounts = map[string]int{"assam": 40, "sencha": 12}

func amount(w http.ResponseWriter, r *http.Request) {
	n, ok := amounts[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	health.Reply(w, n)
}

func main() { health.Serve("stock", http.HandlerFunc(amount)) }
