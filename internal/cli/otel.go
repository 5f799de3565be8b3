package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/internal/runs"
	"github.com/kilnbuild/kiln/internal/spans"
)

// spansTime is how long a collector may keep a finished build waiting, unless
// OTEL_EXPORTER_OTLP_TIMEOUT says more or less.
const spansTime = 1500 * time.Millisecond

// sendSpans sends the spans of a run to the OpenTelemetry collector that the
// environment names, if it names one. What comes of it is no matter of the
// build: trouble is told and no more.
func (a *app) sendSpans(ctx context.Context, r *runs.Run) {
	collector := cmp.Or(a.env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], a.env["OTEL_EXPORTER_OTLP_ENDPOINT"])
	if collector == "" || isTrue(a.env["OTEL_SDK_DISABLED"]) || a.env["OTEL_TRACES_EXPORTER"] == "none" {
		return
	}
	o := spans.Options{
		Protocol: cmp.Or(a.env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"], a.env["OTEL_EXPORTER_OTLP_PROTOCOL"]),
		Parent:   a.env["TRACEPARENT"], State: a.env["TRACESTATE"],
	}
	warn := func(err error) {
		fmt.Fprintf(a.Err, "warning: the spans of this build were not sent to %s: %s\n", a.discreet(collector), a.discreet(err.Error()))
	}
	if o.Protocol != "" && !slices.Contains(spans.Protocols, o.Protocol) {
		warn(fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q; kiln knows http/protobuf and grpc", o.Protocol))
		return
	}
	// The exporter would send them to this machine instead.
	if u, err := url.Parse(collector); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		warn(errors.New("that is no address such as http://127.0.0.1:4318"))
		return
	}
	limit := spansTime
	if ms, err := strconv.Atoi(cmp.Or(a.env["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"], a.env["OTEL_EXPORTER_OTLP_TIMEOUT"])); err == nil && ms > 0 {
		limit = time.Duration(ms) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit) // an interrupted build is told, too
	defer cancel()
	if err := spans.Send(ctx, r, o); err != nil {
		warn(err)
	}
}
