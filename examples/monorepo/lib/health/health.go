// Package health serves a service's handlers with what all services have: an
// answer on /health, and a clean end.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// Handler adds /health to a service's own handler.
func Handler(service string, h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		Reply(w, map[string]string{"service": service, "status": "ok"})
	})
	return mux
}

// Reply answers with v as JSON.
func Reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}

// Serve answers on port 8080 until the process is told to end.
func Serve(service string, h http.Handler) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &http.Server{Addr: ":8080", Handler: Handler(service, h)}
	context.AfterFunc(ctx, func() { _ = s.Shutdown(context.Background()) })
	log.Printf("%s listens on %s", service, s.Addr)
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
