package spans_test

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/internal/runs"
	"github.com/kilnbuild/kiln/internal/spans"
)

// A sink is an OpenTelemetry collector.
type sink struct {
	collector.UnimplementedTraceServiceServer

	mu       sync.Mutex // guards the fields below
	requests []*collector.ExportTraceServiceRequest
	tokens   []string // what came in the header x-token
	paths    []string
}

// Export implements the gRPC service.
func (s *sink) Export(ctx context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.take(r, strings.Join(md.Get("x-token"), ","), "")
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes spans as http/protobuf.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &req) != nil {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	s.take(&req, r.Header.Get("x-token"), r.URL.Path)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *sink) take(r *collector.ExportTraceServiceRequest, token, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.tokens, s.paths = append(s.requests, r), append(s.tokens, token), append(s.paths, path)
}

// spans are all that came, by name.
func (s *sink) spans() map[string]*trace.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]*trace.Span{}
	for _, r := range s.requests {
		for _, rs := range r.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					out[span.Name] = span
				}
			}
		}
	}
	return out
}

func attribute(list []*common.KeyValue, key string) string {
	for _, kv := range list {
		if kv.Key == key {
			return kv.Value.GetStringValue()
		}
	}
	return ""
}

var began = time.Date(2026, 11, 23, 13, 15, 2, 0, time.UTC)

func sample() *runs.Run {
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	base := &runs.Target{Name: "base", Status: "built", Digest: "sha256:1", Times: runs.Times{Started: at(0), Solved: at(2), Exporting: at(2), Finished: at(3)},
		Steps: []*runs.Step{{Digest: "v", Name: "[1/1] RUN make", File: "Dockerfile", Line: 2, Started: at(0), Ended: at(2), Sent: 12}}}
	app := &runs.Target{Name: "app", Status: "failed", Needs: []string{"base"}, Times: runs.Times{Started: at(2), Finished: at(5)}, Failure: &runs.Failure{Text: "it failed"},
		Steps: []*runs.Step{{Digest: "w", Name: "[1/1] RUN false", Started: at(3), Error: "exit code: 1"}}}
	return &runs.Run{ID: "id", Kiln: "v1", Definition: "/src", Args: []string{"build"}, Status: "failed", Started: at(0), Ended: at(6), Targets: []*runs.Target{base, app, {Name: "never", Status: "skipped"}}}
}

// check looks at what came of the sample.
func (s *sink) check(t *testing.T) {
	t.Helper()
	all := s.spans()
	if len(all) != 6 {
		t.Fatalf("%d spans", len(all))
	}
	run, base, app := all["kiln build"], all["base"], all["app"]
	const traceID, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	if hex.EncodeToString(run.TraceId) != traceID || hex.EncodeToString(run.ParentSpanId) != parent {
		t.Errorf("the run belongs to trace %x, span %x", run.TraceId, run.ParentSpanId)
	}
	for child, of := range map[string]*trace.Span{"base": run, "app": run, "[1/1] RUN make": base, "export": base, "[1/1] RUN false": app} {
		if string(all[child].ParentSpanId) != string(of.SpanId) || string(all[child].TraceId) != string(run.TraceId) {
			t.Errorf("%s is not below %s", child, of.Name)
		}
	}
	if len(app.Links) != 1 || string(app.Links[0].SpanId) != string(base.SpanId) {
		t.Errorf("app has the links %v, want one to base", app.Links)
	}
	if start, end := base.StartTimeUnixNano, base.EndTimeUnixNano; start != uint64(began.UnixNano()) || end-start != uint64(3*time.Second) {
		t.Errorf("base took from %d to %d", start, end)
	}
	for _, failed := range []*trace.Span{run, app, all["[1/1] RUN false"]} {
		if failed.Status.GetCode() != trace.Status_STATUS_CODE_ERROR {
			t.Errorf("%s has the status %v", failed.Name, failed.Status)
		}
	}
	if base.Status.GetCode() != trace.Status_STATUS_CODE_UNSET || attribute(base.Attributes, "oci.manifest.digest") != "sha256:1" || attribute(all["[1/1] RUN make"].Attributes, "code.file.path") != "Dockerfile" {
		t.Errorf("base: %v", base)
	}
	about := s.requests[0].ResourceSpans[0].Resource.Attributes
	if attribute(about, "service.name") != "builds" || attribute(about, "service.version") != "v1" || attribute(about, "team") != "infra" {
		t.Errorf("the resource: %v", about)
	}
	if s.tokens[0] != "let me in" {
		t.Errorf("the header x-token: %q", s.tokens[0])
	}
}

// setenv sets what all the tests have in common.
func setenv(t *testing.T, endpoint string) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=let%20me%20in")
	t.Setenv("OTEL_SERVICE_NAME", "builds")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "team=infra")
	t.Setenv("HTTP_PROXY", "")
}

var inTrace = spans.Options{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b"}

const patience = time.Minute

func TestSendOverHTTP(t *testing.T) {
	s := &sink{}
	srv := httptest.NewServer(s)
	defer srv.Close()
	setenv(t, srv.URL+"/prefix")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := spans.Send(ctx, sample(), inTrace); err != nil {
		t.Fatal(err)
	}
	s.check(t)
	if s.paths[0] != "/prefix/v1/traces" {
		t.Errorf("sent to %s", s.paths[0])
	}
}

func TestSendOverGRPC(t *testing.T) {
	s := &sink{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // until Stop
	}()
	defer func() { srv.Stop(); <-done }()
	setenv(t, "http://"+l.Addr().String())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o := inTrace
	o.Protocol = "grpc"
	if err := spans.Send(ctx, sample(), o); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

// A large run is sent in parts that collectors take.
func TestSendMany(t *testing.T) {
	s := &sink{}
	srv := httptest.NewServer(s)
	defer srv.Close()
	setenv(t, srv.URL)
	r := sample()
	for i := range 2500 {
		r.Targets[0].Steps = append(r.Targets[0].Steps, &runs.Step{Digest: "x", Name: "step " + string(rune('a'+i%26)), Started: began, Ended: began})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := spans.Send(ctx, r, spans.Options{}); err != nil {
		t.Fatal(err)
	}
	if len(s.requests) != 3 {
		t.Errorf("%d requests, want 3", len(s.requests))
	}
	if run := s.spans()["kiln build"]; len(run.ParentSpanId) != 0 {
		t.Errorf("without a parent, the run is below %x", run.ParentSpanId)
	}
}

// A collector that is not there, refuses, or does not answer is an error, and
// none outlives the context.
func TestSendInVain(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not you", http.StatusForbidden)
	}))
	defer refuses.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		name, addr, want string
	}{
		{"refuses", refuses.Listener.Addr().String(), "403"},
		{"silent", silent.Addr().String(), "no answer in time"},
		{"nobody", "127.0.0.1:1", "refused"},
	} {
		for _, protocol := range spans.Protocols {
			setenv(t, "http://"+c.addr)
			limit := patience
			if c.name == "silent" {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			err := spans.Send(ctx, sample(), spans.Options{Protocol: protocol})
			cancel()
			if err == nil || protocol != "grpc" && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v, want %q", c.name, protocol, err, c.want)
			}
		}
	}
}
