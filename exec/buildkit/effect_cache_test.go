package buildkit_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// cacheEffects are those of where build cache comes from and goes to. Each
// fills a cache on one daemon and reads it on another, which has nothing.
func cacheEffects() []effect {
	var out []effect
	for _, c := range []struct {
		name string
		test func(*testing.T, *lab)
	}{
		{"registry", func(t *testing.T, l *lab) {
			reg := newRegistry(t)
			l.cached(t, `cache-to = ["type=registry,ref=`+reg+`/cache:1,mode=max"]`, `cache-from = ["`+reg+`/cache:1"]`)
		}},
		{"local", func(t *testing.T, l *lab) {
			l.cached(t, `cache-to = [{ type = "local", dest = "cache", mode = "max" }]`, `cache-from = ["type=local,src=cache"]`)
		}},
		{"inline", func(t *testing.T, l *lab) {
			reg := newRegistry(t)
			l.cached(t, "cache-to = [\"type=inline\"]\ntags = [\""+reg+"/app:1\"]\noutput = [\"out\", \"type=registry\"]", `cache-from = ["type=registry,ref=`+reg+`/app:1"]`)
		}},
		{"s3", s3Effect}, {"azblob", azblobEffect}, {"gha version 1", ghaEffect("")}, {"gha version 2", ghaEffect("true")},
	} {
		out = append(out, effect{"cache-to cache-from", c.name, c.test})
	}
	return out
}

// cached builds with a cache to write, and on another daemon with that cache
// to read: a step that runs again shows that it was not used.
func (l *lab) cached(t *testing.T, to, from string) {
	t.Helper()
	var ids [2]string
	for i, attrs := range []string{to, from} {
		if !strings.Contains(attrs, "output") {
			attrs += "\noutput = [\"out\"]"
		}
		if i == 1 {
			l.addr = l.other()
		}
		l.must(t, "target \"t\" {\ndockerfile-inline = \"${sh}RUN echo "+t.Name()+"; cat /proc/sys/kernel/random/uuid > /id\\n\"\n"+attrs+"\n}")
		ids[i] = l.read(t, "out/id")
		if err := os.RemoveAll(l.dir + "/out"); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] != ids[1] {
		t.Error("the step ran again: the cache was not used")
	}
}

// A blobServer stands in for the object stores of clouds: it keeps what is put
// under a path, as Amazon S3 and Azure Blob Storage both do, and remembers who
// asked.
type blobServer struct {
	url string

	mu     sync.Mutex // guards the fields below
	blobs  map[string][]byte
	blocks map[string][]byte // of blobs that Azure's clients send in parts
	seen   []http.Header
	paths  []string
}

func newBlobServer(t *testing.T) *blobServer {
	t.Helper()
	b := &blobServer{blobs: map[string][]byte{}, blocks: map[string][]byte{}}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func (b *blobServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := bodyOf(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, r.Header.Clone())
	b.paths = append(b.paths, r.URL.Path)
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("x-ms-request-id", "1")
	q := r.URL.Query()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case q.Get("restype") == "container":
	case r.Method == http.MethodPut && q.Get("comp") == "block":
		b.blocks[r.URL.Path+q.Get("blockid")] = body
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && q.Get("comp") == "blocklist":
		var list struct{ Latest []string }
		err := xml.Unmarshal(body, &list)
		var whole []byte
		for _, id := range list.Latest {
			whole = append(whole, b.blocks[r.URL.Path+id]...)
		}
		b.blobs[r.URL.Path] = whole
		if err == nil {
			w.WriteHeader(http.StatusCreated)
		}
	case r.Method == http.MethodPut:
		b.blobs[r.URL.Path] = body
		if r.Header.Get("x-ms-blob-type") != "" {
			w.WriteHeader(http.StatusCreated)
		}
	default:
		b.get(w, r)
	}
}

func (b *blobServer) get(w http.ResponseWriter, r *http.Request) {
	data, ok := b.blobs[r.URL.Path]
	if !ok {
		w.Header().Set("x-ms-error-code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
		}
		return
	}
	if v := r.Header.Get("x-ms-range"); v != "" {
		r.Header.Set("Range", v)
	}
	http.ServeContent(w, r, "", time.Now(), strings.NewReader(string(data)))
}

// bodyOf reads a request's body, which Amazon's clients send in chunks with
// check sums behind them.
func bodyOf(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	in := bufio.NewReader(r.Body)
	var out []byte
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil || n == 0 {
			return out, err
		}
		chunk := make([]byte, n+2) // and the end of the line
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, err
		}
		out = append(out, chunk[:n]...)
	}
}

// told checks that some request had a header with want in it.
func (b *blobServer) told(t *testing.T, header, want string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.seen, func(h http.Header) bool { return strings.Contains(h.Get(header), want) }) {
		t.Errorf("no request has %q in its %s", want, header)
	}
}

// under checks that there were requests, and that all their paths begin so.
func (b *blobServer) under(t *testing.T, prefix string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.paths) == 0 || slices.ContainsFunc(b.paths, func(p string) bool { return !strings.HasPrefix(p, prefix) }) {
		t.Errorf("requests were for %q, want all below %s", b.paths, prefix)
	}
}

// s3Effect takes the credentials from the client's environment.
func s3Effect(t *testing.T, l *lab) {
	b := newBlobServer(t)
	l.env = []string{"AWS_ACCESS_KEY_ID", "AKIDKILN", "AWS_SECRET_ACCESS_KEY", "s3-secret", "AWS_SESSION_TOKEN", "s3-session", "AWS_REGION", "kiln-north-1"}
	attrs := "type=s3,bucket=caches,name=app,prefix=team/,use_path_style=true,endpoint_url=" + b.url
	l.cached(t, `cache-to = ["`+attrs+`,mode=max"]`, `cache-from = ["`+attrs+`"]`)
	b.under(t, "/caches/team/")
	b.told(t, "Authorization", "AWS4-HMAC-SHA256 Credential=AKIDKILN/")
	b.told(t, "Authorization", "/kiln-north-1/s3/")
	b.told(t, "X-Amz-Security-Token", "s3-session")
}

// azblobEffect takes the account and its key from the client's environment.
func azblobEffect(t *testing.T, l *lab) {
	b := newBlobServer(t)
	l.env = []string{"BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", b.url, "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME", "kilnaccount",
		"BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY", base64.StdEncoding.EncodeToString([]byte("azure-secret")), "BUILDKIT_AZURE_STORAGE_CONTAINER", "caches"}
	l.cached(t, `cache-to = ["type=azblob,name=app,mode=max"]`, `cache-from = ["type=azblob,name=app"]`)
	b.under(t, "/caches")
	b.told(t, "Authorization", "SharedKey kilnaccount:")
}

// A ghaServer stands in for the cache service of GitHub's runners, in both
// versions of its interface. Its blobs are on a blobServer.
type ghaServer struct {
	url   string
	blobs *blobServer

	mu   sync.Mutex      // guards keys and seen
	keys []string        // of entries, in the order of their making; the ID of one is its place, from 1
	done map[string]bool // keys that are complete
	seen []string        // "POST /path Authorization"
}

func newGHAServer(t *testing.T) *ghaServer {
	t.Helper()
	g := &ghaServer{blobs: newBlobServer(t), done: map[string]bool{}}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

func (g *ghaServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
	if rest, ok := strings.CutPrefix(r.URL.Path, "/runner/twirp/github.actions.results.api.v1.CacheService/"); ok {
		g.version2(w, r, rest)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/runner/_apis/artifactcache/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	g.version1(w, r, rest)
}

// find returns the newest complete entry that begins as the first of the keys
// for which there is one.
func (g *ghaServer) find(keys []string) (key, url string, ok bool) {
	for _, want := range keys {
		for _, k := range slices.Backward(g.keys) {
			if g.done[k] && strings.HasPrefix(k, want) {
				return k, g.blobs.url + g.path(k), true
			}
		}
	}
	return "", "", false
}

// path is where the blob of an entry is.
func (g *ghaServer) path(key string) string { return fmt.Sprint("/gha/", slices.Index(g.keys, key)) }

func (g *ghaServer) version2(w http.ResponseWriter, r *http.Request, method string) {
	var req struct {
		Key         string
		RestoreKeys []string `json:"restore_keys"`
	}
	_ = json.NewDecoder(r.Body).Decode(&req)
	switch method {
	case "CreateCacheEntry":
		g.keys = append(g.keys, req.Key)
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "signed_upload_url": g.blobs.url + g.path(req.Key)})
	case "FinalizeCacheEntryUpload":
		g.done[req.Key] = true
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "entry_id": "1"})
	case "GetCacheEntryDownloadURL":
		key, url, ok := g.find(append([]string{req.Key}, req.RestoreKeys...))
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": ok, "signed_download_url": url, "matched_key": key})
	}
}

func (g *ghaServer) version1(w http.ResponseWriter, r *http.Request, rest string) {
	if rest == "cache" {
		key, url, ok := g.find(strings.Split(r.URL.Query().Get("keys"), ","))
		if !ok {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cacheKey": key, "archiveLocation": url})
		return
	}
	var req struct{ Key string }
	id, err := strconv.Atoi(strings.TrimPrefix(rest, "caches/")) // from 1
	id--
	switch {
	case rest == "caches":
		_ = json.NewDecoder(r.Body).Decode(&req)
		g.keys = append(g.keys, req.Key)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"cacheID": len(g.keys)})
	case err != nil || id < 0 || id >= len(g.keys):
		http.NotFound(w, r)
	case r.Method == http.MethodPatch:
		data, _ := io.ReadAll(r.Body)
		from, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "-")
		at, _ := strconv.Atoi(from)
		g.blobs.patch(g.path(g.keys[id]), at, data)
	default:
		g.done[g.keys[id]] = true
	}
}

// patch writes a part of a blob.
func (b *blobServer) patch(path string, at int, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if need := at + len(data); len(b.blobs[path]) < need {
		b.blobs[path] = append(b.blobs[path], make([]byte, need-len(b.blobs[path]))...)
	}
	copy(b.blobs[path][at:], data)
}

// runnerToken is a token as runners have it: not secret to who reads it, but
// for the signature.
func runnerToken(t *testing.T) string {
	t.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	now := time.Now().Unix()
	return part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." +
		part(map[string]any{"ac": `[{"Scope":"refs/heads/main","Permission":3}]`, "nbf": now - 60, "exp": now + 3600}) + ".c2lnbmF0dXJl"
}

// ghaEffect takes token and address from the environment of a runner, which
// speaks of both versions of the service whichever it wants to be used.
func ghaEffect(service2 string) func(*testing.T, *lab) {
	return func(t *testing.T, l *lab) {
		g := newGHAServer(t)
		token := runnerToken(t)
		l.env = []string{"ACTIONS_RUNTIME_TOKEN", token, "ACTIONS_CACHE_URL", g.url + "/runner/", "ACTIONS_RESULTS_URL", g.url + "/runner/", "ACTIONS_CACHE_SERVICE_V2", service2}
		l.cached(t, `cache-to = ["type=gha,scope=app,mode=max"]`, `cache-from = ["type=gha,scope=app"]`)
		g.mu.Lock()
		defer g.mu.Unlock()
		version2 := false
		for _, s := range g.seen {
			if !strings.HasSuffix(s, " Bearer "+token) {
				t.Errorf("a request without the token: %s", s)
			}
			version2 = version2 || strings.Contains(s, "/twirp/")
		}
		if len(g.seen) == 0 || version2 != (service2 != "") {
			t.Errorf("the requests were %q", g.seen)
		}
	}
}
