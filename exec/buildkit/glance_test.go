package buildkit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGlanceAt(t *testing.T) {
	got, err := GlanceAt([]byte(`# syntax=docker/dockerfile:1
ARG VERSION=3.22
ARG BASE=alpine:${VERSION}
ARG NONE
FROM ${BASE} AS build
COPY --link /src go.mod ./
COPY <<EOF /etc/motd
hello
EOF
ADD https://example.com/a.tar.gz $DIR/b /tmp/
RUN --mount=type=bind,from=acme/tools:1,target=/tools true
FROM build AS test
FROM ${NONE}
FROM scratch
COPY --from=build /a /b
COPY --from=acme/certs /c /d
COPY --from=2 /e /f
COPY *.conf .
`))
	want := Glance{
		Stages:  []string{"build", "test", "", ""},
		Images:  []string{"alpine:3.22", "acme/tools:1", "acme/certs"},
		Sources: []string{"src", "go.mod", "*.conf"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "RUN true", "FROM a\nNOPE b", "FROM"} {
		if _, err := GlanceAt([]byte(text)); err == nil {
			t.Errorf("%q is taken for a Dockerfile", text)
		}
	}
}
