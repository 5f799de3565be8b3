package progress

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain\n", "plain"},
		{"dos\r\n", "dos"},
		{"10%\r50%\r100%\n", "100%"},
		{"\x1b[1;31mred\x1b[0m", "red"},
		{"\x1b[2J\x1b[Hhome", "home"},
		{"\x1b]0;title\atext", "text"},
		{"a\tb", "a    b"},
		{"bell\a back\b\x00", "bell back"},
		{"bad\xff\xfeutf", "bad\ufffdutf"},
		{"\u202eright to left", "right to left"},
		{"wide 日本語 stays", "wide 日本語 stays"},
		{"\x1b[31", ""},
		{"c1 \u009b2J", "c1 2J"},
	} {
		if got := clean([]byte(tt.in)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestSplitter(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []string
		want []string
		end  []string
	}{
		{"pieces", []string{"a", "b\nc", "\n"}, []string{"ab", "c"}, nil},
		{"unended", []string{"a\nb"}, []string{"a"}, []string{"b"}},
		{"line ends of DOS over two pieces", []string{"a\r", "\nb\r\n"}, []string{"a", "b"}, nil},
		{"progress bar", []string{"1%\r", "2%\r3", "%\r", "4%"}, nil, []string{"4%"}},
		{"long line", []string{strings.Repeat("x", maxLine+5) + "\n"}, []string{strings.Repeat("x", maxLine), "xxxxx"}, nil},
		{"character over two pieces", []string{"\xe6\x97", "\xa5\n"}, []string{"日"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s splitter
			var got []string
			for _, p := range tt.in {
				got = append(got, s.add([]byte(p))...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.end, s.end()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAbridged(t *testing.T) {
	for _, tt := range []struct {
		name  string
		width int
		want  string
	}{
		{"service-244", 20, "service-244"},
		{"service-244", 11, "service-244"},
		{"service-244", 8, "serv…244"},
		{"service-244", 4, "se…4"},
		{"service-244", 3, "se…"},
		{"日本語の名前です", 9, "日本…です"},
		{"日本語の名前です", 8, "日本…す"},
	} {
		if got := abridged(tt.name, tt.width); got != tt.want {
			t.Errorf("%s in %d: got %q, want %q", tt.name, tt.width, got, tt.want)
		}
	}
}

func TestTook(t *testing.T) {
	for _, tt := range []struct {
		in   time.Duration
		want string
	}{
		{-time.Second, "0.0s"},
		{0, "0.0s"},
		{1290 * time.Millisecond, "1.2s"},
		{59990 * time.Millisecond, "59.9s"},
		{62 * time.Second, "1m02s"},
		{3*time.Hour + 7*time.Minute + 59*time.Second, "3h07m"},
	} {
		if got := took(tt.in); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add([]byte("a\x1b[0m\r\xffb\u202e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := clean(b)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unwanted) {
			t.Errorf("%q gives %q", b, got)
		}
		var s splitter
		for i := range b {
			s.add(b[i : i+1])
		}
		s.end()
	})
}
