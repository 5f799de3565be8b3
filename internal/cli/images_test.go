package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/internal/runs"
	"github.com/kilnbuild/kiln/internal/store"
)

// images makes a list of "NAME AGE TARGET PLATFORM" lines.
func imagesOf(lines ...string) *imageList {
	l := &imageList{}
	for n, line := range lines {
		f := strings.Fields(line)
		age, err := time.ParseDuration(f[1])
		if err != nil {
			panic(err)
		}
		im := store.Image{Name: f[0]}
		if f[0] == "-" {
			im.Name = ""
		}
		im.BuiltAs, im.Target.Digest = f[2], digest.FromString(line)
		facts := &store.Facts{Digest: im.Target.Digest, Blobs: []store.Blob{{Digest: "shared", Size: 100}, {Digest: im.Target.Digest, Size: int64(n)}}}
		for _, p := range f[3:] {
			facts.Platforms = append(facts.Platforms, store.Variant{Platform: p, ID: digest.FromString(line + p), Created: filterTime.Add(-age)})
		}
		l.images = append(l.images, newStoredImage(im, facts, nil))
	}
	return l
}

var filterTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestImageFilters(t *testing.T) {
	l := imagesOf(
		"docker.io/library/app:1 1h app linux/amd64",
		"docker.io/team/app:2 2h app linux/amd64 linux/arm64",
		"registry.example.com:5000/team/lib:latest 3h lib linux/arm/v7",
		"- 4h other linux/amd64",
	)
	for _, tt := range []struct{ filters, arg, want string }{
		{"", "", "app:1 team/app:2 registry.example.com:5000/team/lib:latest -"},
		{"", "app", "app:1"},
		{"", "docker.io/library/app", "app:1"},
		{"", "app:2", ""},
		{"", "*/app:*", "team/app:2"},
		{"", "team/*", "team/app:2"},
		{"", "registry.example.com:5000/team/lib", "registry.example.com:5000/team/lib:latest"},
		{"reference=app reference=team/app", "", "app:1 team/app:2"},
		{"target=app", "", "app:1 team/app:2"},
		{"target=[lo]*", "", "registry.example.com:5000/team/lib:latest -"},
		{"dangling=true", "", "-"},
		{"dangling=false target=other", "", ""},
		{"platform=linux/arm64", "", "team/app:2"},
		{"platform=linux/arm/v7 platform=arm64", "", "team/app:2 registry.example.com:5000/team/lib:latest"},
		{"before=team/app:2", "", "registry.example.com:5000/team/lib:latest -"},
		{"since=team/app:2", "", "app:1"},
		{"since=registry.example.com:5000/team/lib before=app:1", "", "team/app:2"},
		{"until=150m", "", "registry.example.com:5000/team/lib:latest -"},
		{"until=2026-01-02T00:30:00Z", "", "registry.example.com:5000/team/lib:latest -"},
	} {
		filters, err := parseFilters(strings.Fields(tt.filters))
		if err != nil {
			t.Fatal(err)
		}
		var args []string
		if tt.arg != "" {
			args = []string{tt.arg}
		}
		chosen, err := l.choose(t.Context(), filters, args, filterTime)
		if err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
		var got []string
		for _, im := range distinct(chosen) {
			name := im.label
			if im.Name == "" {
				name = "-"
			}
			got = append(got, name)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.filters, tt.arg, got, tt.want)
		}
	}
	for _, spec := range []string{"platform=a/b/c/d/e", "reference=[", "target=[", "before=nothing", "dangling=maybe", "until=x"} {
		filters, err := parseFilters([]string{spec})
		if err == nil {
			_, err = l.choose(t.Context(), filters, nil, filterTime)
		}
		if err == nil {
			t.Errorf("%s was taken", spec)
		}
	}
}

func TestTotalCountsBlobsOnce(t *testing.T) {
	l := imagesOf("a:1 1h a x/y", "b:1 1h b x/y", "c:1 1h c x/y")
	list := append(slices.Clone(l.images), l.images[1]) // another name of one
	if got, want := totalOf(list), (storeTotal{Images: 3, Stored: 103, Shared: 100}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFindByID(t *testing.T) {
	l := imagesOf("a:1 1h a x/y", "b:1 1h b x/y")
	id := l.images[1].facts.Platforms[0].ID
	for _, text := range []string{id.String(), id.Encoded()[:12], id.Encoded()[:4], strings.ToUpper(id.Encoded()[:12]), l.images[1].Target.Digest.Encoded()[:12]} {
		if found, err := l.find(text); err != nil || len(found) != 1 || found[0].Name != "b:1" {
			t.Errorf("%s: %v, %v", text, found, err)
		}
	}
	for _, text := range []string{id.Encoded()[:3], "0000", "xyz"} {
		if found, err := l.find(text); err == nil {
			t.Errorf("%s: found %v", text, found)
		}
	}
}

func TestRowFormats(t *testing.T) {
	rows := []imageRow{{Repository: "a", Tag: "1"}, {Repository: "longer/b", Tag: "2"}}
	for _, tt := range []struct{ format, want string }{
		{"{{.Repository}}:{{.Tag}}", "a:1\nlonger/b:2\n"},
		{`table {{.Repository}}\t{{upper .Tag}}`, "REPOSITORY   TAG\na            1\nlonger/b     2\n"},
		{`{{truncate .Repository 3}}{{pad .Tag 1 1}}|`, "a 1 |\nlon 2 |\n"},
		{`{{join (split .Repository "/") "+"}}{{println}}`, "a\n\nlonger+b\n\n"},
		{"tabular", "tabular\ntabular\n"},
	} {
		f, err := parseFormat(tt.format, imageHeader)
		if err != nil {
			t.Error(err)
			continue
		}
		var b bytes.Buffer
		if err := printFormatted(&b, f, imageHeader, rows); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%s: %s", tt.format, diff)
		}
	}
	for _, bad := range []string{"{{", "{{.repository}}", "{{nope .Tag}}"} {
		if _, err := parseFormat(bad, imageHeader); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// What another tool wrote does not move the cursor.
func TestNamesOfOthersAreShownOnOneLine(t *testing.T) {
	im := newStoredImage(store.Image{Name: "evil\x1b[2J\nname\u202e"}, nil, nil)
	if im.repository != "evil[2J name" || im.tag != noName {
		t.Errorf("%q %q", im.repository, im.tag)
	}
}

func TestInstructionOf(t *testing.T) {
	for _, tt := range []struct{ history, step string }{
		{"RUN /bin/sh -c make all # buildkit", "RUN make all"},
		{"RUN |2 A=1 B=x y /bin/sh -c make $A # buildkit", "RUN make $A"},
		{"RUN /bin/busybox --install -s /bin # buildkit", `RUN ["/bin/busybox", "--install", "-s", "/bin"]`},
		{"RUN /bin/sh -c make # buildkit", "RUN --mount=type=cache,target=/c --network=none make"},
		{"COPY /a /b # buildkit", "COPY --from=build --chown=1:1 /a /b"},
		{"COPY a  b /c/ # buildkit", "COPY a b /c/"},
		{"WORKDIR /srv", "WORKDIR /srv"},
		{"ADD https://example.com/x / # buildkit", "ADD https://example.com/x /"},
	} {
		hk, ht := instructionOf(tt.history)
		sk, st := instructionOf(tt.step)
		if hk != sk || ht != st {
			t.Errorf("%q is %s %q, %q is %s %q", tt.history, hk, ht, tt.step, sk, st)
		}
	}
}

// The newest layers are told by their text, or, of a target with one stage, by
// their order.
func TestStepsOfAHistory(t *testing.T) {
	step := func(name string, line int, cached bool) *runs.Step {
		return &runs.Step{Name: name, Line: line, Cached: cached, Ended: filterTime}
	}
	own := []*runs.Step{step("[2/4] COPY a /", 2, true), step("[internal] load metadata", 0, true), step("[3/4] RUN echo one", 3, false), step("[4/4] RUN make", 4, false)}
	h := &layerHistory{}
	for _, by := range []string{"CMD x", "RUN /bin/sh -c make # buildkit", "RUN |1 N=one /bin/sh -c echo $N # buildkit", "COPY a / # buildkit", "COPY base / # buildkit", "ADD rootfs /"} {
		h.History = append(h.History, layerWithPast{CreatedBy: by})
	}
	h.matchSteps(own, []*runs.Step{step("[1/1] COPY base /", 1, true)})
	var got []string
	for _, e := range h.History {
		switch {
		case e.Cached == nil:
			got = append(got, "-")
		case *e.Cached:
			got = append(got, "yes")
		default:
			got = append(got, "no")
		}
	}
	if want := []string{"-", "no", "no", "yes", "yes", "-"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestColumnsFit(t *testing.T) {
	table := func() [][]string {
		return [][]string{{"ID", "COMMAND", "COMMENT"}, {"1", "a rather long one", "x"}, {"2", "short", "a comment"}}
	}
	for _, tt := range []struct {
		cells int
		want  string
	}{
		{0, "ID   COMMAND             COMMENT\n1    a rather long one   x\n2    short               a comment\n"},
		{34, "ID   COMMAND             COMMENT\n1    a rather long one   x\n2    short               a comment\n"},
		{33, "ID   COMMAND\n1    a rather long one\n2    short\n"},
		{15, "ID   COMMAND\n1    a rather …\n2    short\n"},
		{5, "ID   COMMA…\n1    a rat…\n2    short\n"},
	} {
		rows := fitColumns(table(), tt.cells, 1, 6)
		var b bytes.Buffer
		if err := printColumns(&b, rows[0], rows[1:]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%d cells: %s", tt.cells, diff)
		}
	}
}
