package health

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealth(t *testing.T) {
	w := httptest.NewRecorder()
	Handler("stock", http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	if got, want := w.Body.String(), `{"service":"stock","status":"ok"}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
