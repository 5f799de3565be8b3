// Package browser looks at HTML files as people do: in a headless Chromium
// that clicks, types, drags and takes pictures. It is imported by tests only.
//
// A page has to be whole by itself. One that asks for anything beside its own
// file, or that writes an error to the console, fails the test that opened it,
// whatever else the test looks at.
//
// Nothing is skipped here: without a Chromium at .cache/chromium/chromium,
// scripts/chromium.sh is run to put one there, and where that fails the test
// fails and says why.
package browser

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/kilnbuild/kiln/internal/testenv/fetched"
)

// patience bounds each step: far longer than any takes on a busy machine, and
// short enough for a hang to be told by the test that hangs.
const patience = 2 * time.Minute

// A Browser is a Chromium with a profile of its own, which ends with the test
// that started it. Its pages may be used by several goroutines, each page by
// one at a time.
type Browser struct{ ctx context.Context }

// Start starts a browser. It takes about half a second: share it among the
// subtests of a test.
func Start(t testing.TB) *Browser {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatalf("tests of HTML pages need a Chromium: %v", err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "chromium.log"))
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("no-sandbox", true), // there is none for root, and the pages are ours
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), // no network
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("lang", "en-GB"),
		chromedp.Env("DBUS_SESSION_BUS_ADDRESS=disabled:", "DBUS_SYSTEM_BUS_ADDRESS=disabled:"),
		chromedp.WSURLReadTimeout(patience), // its own 20 seconds are short
		chromedp.CombinedOutput(log))
	alloc, release := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		cancel()
		release()
		log.Close()
	})
	// The browser lives as long as the context of its first step, so the
	// patience for that is a timer.
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	if err := chromedp.Do(ctx); err != nil {
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("start %s: %v\n%s", path, err, said)
	}
	return &Browser{ctx: ctx}
}

// program returns the path of a Chromium, and fetches one if there is none.
func program() (string, error) {
	if named := os.Getenv("KILN_CHROMIUM"); named != "" {
		return named, nil
	}
	dir, err := fetched.Dir("chromium", "chromium")
	return filepath.Join(dir, "chromium"), err
}
