// Package spans sends the record of a run to an OpenTelemetry collector: a
// span for the run, below it one for each target, and below that one for each
// step and for the export. They are made when the run is over, with its
// times; while targets are built, nothing of it is there.
//
// The addresses of collectors, headers, certificates, compression and what
// belongs to the resource are read from OTEL_… variables by OpenTelemetry's
// own exporters, as its specification has them.
package spans

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/kilnbuild/kiln/internal/runs"
)

// Protocols are the values of OTEL_EXPORTER_OTLP_PROTOCOL that Send knows, the
// default first.
var Protocols = []string{"http/protobuf", "grpc"}

// Options say how spans are sent.
type Options struct {
	Protocol string // one of Protocols; "" is the first
	// Parent and State are the trace that the run belongs to, as
	// TRACEPARENT and TRACESTATE have it (W3C Trace Context); "" begins one.
	Parent, State string
}

// batch is how many spans are sent at once: collectors take no messages that
// are larger than 4 MiB.
const batch = 1000

// Send sends the spans of a run. It ends with ctx, and tries nothing again.
func Send(ctx context.Context, r *runs.Run, o Options) error {
	exporter, err := newExporter(ctx, o.Protocol)
	if err != nil {
		return err
	}
	var told []error // what the exporter tells nobody else, such as spans that were refused
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { told = append(told, err) }))
	made := &collected{}
	if err := spansOf(ctx, r, o, made); err != nil {
		return err
	}
	for len(made.spans) > 0 && err == nil {
		n := min(len(made.spans), batch)
		err = exporter.ExportSpans(ctx, made.spans[:n])
		made.spans = made.spans[n:]
	}
	err = errors.Join(append([]error{err}, told...)...)
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	_ = exporter.Shutdown(end) // all is sent, or lost
	return err
}

func newExporter(ctx context.Context, protocol string) (sdk.SpanExporter, error) {
	if protocol == "grpc" {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}))
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
}

// collected takes spans as they end.
type collected struct{ spans []sdk.ReadOnlySpan }

func (c *collected) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (c *collected) OnEnd(s sdk.ReadOnlySpan)                   { c.spans = append(c.spans, s) }
func (c *collected) Shutdown(context.Context) error             { return nil }
func (c *collected) ForceFlush(context.Context) error           { return nil }

// spansOf makes the spans of a run.
func spansOf(ctx context.Context, r *runs.Run, o Options, into *collected) error {
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "kiln"), attribute.String("service.version", r.Kiln)),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // the environment comes last, and wins
	if err != nil {
		return fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithSpanProcessor(into))
	m := maker{tracer: provider.Tracer("github.com/kilnbuild/kiln"), targets: map[string]trace.SpanContext{}}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": o.Parent, "tracestate": o.State})
	ctx, span := m.tracer.Start(ctx, "kiln build", trace.WithTimestamp(r.Started), trace.WithAttributes(
		attribute.String("kiln.run", r.ID), attribute.String("kiln.definition", r.Definition), attribute.String("kiln.status", r.Status),
		attribute.Int("kiln.targets", len(r.Targets)), attribute.StringSlice("kiln.builders", r.Builders), attribute.StringSlice("process.command_args", append([]string{"kiln"}, r.Args...)),
		attribute.String("vcs.ref.head.revision", r.Commit),
	))
	if r.Status == "failed" {
		span.SetStatus(codes.Error, "a target failed")
	}
	for _, t := range r.Targets {
		m.target(ctx, t)
	}
	span.End(trace.WithTimestamp(r.Ended))
	return nil
}

type maker struct {
	tracer  trace.Tracer
	targets map[string]trace.SpanContext // so far, by name: to link to
}

// target makes the spans of a target that was begun.
func (m maker) target(ctx context.Context, t *runs.Target) {
	if t.Started.IsZero() {
		return
	}
	var links []trace.Link
	for _, n := range t.Needs {
		if c, ok := m.targets[n]; ok {
			links = append(links, trace.Link{SpanContext: c, Attributes: []attribute.KeyValue{attribute.String("kiln.link", "needs")}})
		}
	}
	cached, all := t.Counts()
	ctx, span := m.tracer.Start(ctx, t.Name, trace.WithTimestamp(t.Started), trace.WithLinks(links...), trace.WithAttributes(
		attribute.String("kiln.target", t.Name), attribute.String("kiln.status", t.Status), attribute.Bool("kiln.cached", t.Cached),
		attribute.Int("kiln.steps", all), attribute.Int("kiln.steps_cached", cached),
	))
	if t.Digest != "" {
		span.SetAttributes(attribute.String("oci.manifest.digest", t.Digest), attribute.StringSlice("container.image.tags", t.Refs))
	}
	m.targets[t.Name] = span.SpanContext()
	for _, s := range t.Steps {
		m.step(ctx, t, s)
	}
	if !t.Exporting.IsZero() {
		_, export := m.tracer.Start(ctx, "export", trace.WithTimestamp(t.Exporting))
		export.End(trace.WithTimestamp(t.Finished))
	}
	if f := t.Failure; f != nil {
		span.SetStatus(codes.Error, f.Text)
	}
	span.End(trace.WithTimestamp(t.Finished))
}

func (m maker) step(ctx context.Context, t *runs.Target, s *runs.Step) {
	if s.Started.IsZero() {
		return
	}
	_, span := m.tracer.Start(ctx, s.Name, trace.WithTimestamp(s.Started), trace.WithAttributes(
		attribute.String("kiln.target", t.Name), attribute.String("kiln.vertex", s.Digest), attribute.Bool("kiln.cached", s.Cached),
	))
	if s.File != "" {
		span.SetAttributes(attribute.String("code.file.path", s.File), attribute.Int("code.line.number", s.Line))
	}
	for _, moved := range []struct {
		name string
		n    int64
	}{{"kiln.bytes_sent", s.Sent}, {"kiln.bytes_pulled", s.Pulled}, {"kiln.bytes_pushed", s.Pushed}} {
		if moved.n > 0 {
			span.SetAttributes(attribute.Int64(moved.name, moved.n))
		}
	}
	if s.Error != "" {
		span.SetStatus(codes.Error, s.Error)
	}
	span.End(trace.WithTimestamp(t.End(s)))
}
