package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// A busyRegistry answers requests for the manifests of the repository
// busy/STATUS/N/… with that status, N times.
type busyRegistry struct {
	http.Handler
	mu    sync.Mutex     // guards asked
	asked map[string]int // by repository
}

func (b *busyRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repo, _, isManifest := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	if parts := strings.Split(repo, "/"); isManifest && len(parts) > 3 && parts[0] == "busy" {
		b.mu.Lock()
		b.asked[repo]++
		n := b.asked[repo]
		b.mu.Unlock()
		status, _ := strconv.Atoi(parts[1]) // 0 is found out by the client
		if times, _ := strconv.Atoi(parts[2]); n <= times {
			w.WriteHeader(status)
			if status == http.StatusForbidden {
				fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"not you"}]}`)
			}
			return
		}
	}
	b.Handler.ServeHTTP(w, r)
}
