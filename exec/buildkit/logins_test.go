package buildkit

import (
	"encoding/base64"
	"testing"
)

func TestSplitLogin(t *testing.T) {
	basic := func(text string) string { return "basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, tt := range []struct{ in, address, id, header string }{
		{"https://user:pa%2Fss@host:8080/x.git#main:dir", "https://host:8080/x.git#main:dir", "GIT_AUTH_HEADER.host:8080", basic("user:pa/ss")},
		{"http://user:p@host/x.git?ref=a", "http://host/x.git?ref=a", "GIT_AUTH_HEADER.host", basic("user:p")},
		{"https://0123456789abcdefghij@github.com/a/b.git", "https://github.com/a/b.git", "GIT_AUTH_HEADER.github.com", basic("0123456789abcdefghij:")},
		{"https://user:pass@host:1/x.tar.gz?a=b@c", "https://host:1/x.tar.gz?a=b@c", "HTTP_AUTH_HEADER_host", "B" + basic("user:pass")[1:]},
		{"https://name@host/x.git", "https://name@host/x.git", "", ""},
		{"https://host/x.git#a@b", "https://host/x.git#a@b", "", ""},
		{"git@github.com:a/b.git", "git@github.com:a/b.git", "", ""},
		{"ssh://git:pw@host/a.git", "ssh://git:pw@host/a.git", "", ""},
	} {
		address, login := splitLogin(tt.in)
		if login == nil {
			login = &Login{}
		}
		if address != tt.address || login.ID != tt.id || login.Header != tt.header {
			t.Errorf("%s: got %s, %+v", tt.in, address, *login)
		}
	}
}

func TestRedactorHidesTheLongerFirst(t *testing.T) {
	r := newRedactor()
	for _, v := range []string{"secret1", "secret12345", "secret123"} {
		r.add([]byte(v))
	}
	if got := r.text("a secret12345 b secret1"); got != "a xxxxx b xxxxx" {
		t.Errorf("got %q", got)
	}
}

func TestIsSecretName(t *testing.T) {
	for name, want := range map[string]bool{
		"NPM_TOKEN": true, "db_password": true, "API_KEY": true, "AWS_SECRET_ACCESS_KEY": true,
		"TOKEN_FILE": false, "AWS_ACCESS_KEY_ID": false, "SECRET_NAME": false, "VERSION": false,
	} {
		if IsSecretName(name) != want {
			t.Errorf("%s: got %v", name, !want)
		}
	}
}
