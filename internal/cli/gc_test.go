package cli

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/startup"
)

// setting reads a setting of the garbage collector.
func setting(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// TestRelaxGC checks that the collector works as before once a build has taken
// some memory.
func TestRelaxGC(t *testing.T) {
	const percent, limit = "/gc/gogc:percent", "/gc/gomemlimit:bytes"
	startup.Hold()
	for range 2 { // what other tests have left to bring the collector back has done so
		cleaned := make(chan struct{})
		runtime.AddCleanup(new(*byte), func(c chan struct{}) { close(c) }, cleaned)
		runtime.GC()
		<-cleaned
	}
	startup.Now()
	oldPercent, oldLimit := setting(percent), setting(limit)
	a := &app{env: map[string]string{}}
	restore := a.relaxGC()
	if setting(limit) != planningMemory {
		t.Errorf("while planning, the limit is %d", setting(limit))
	}
	restore()
	restore() // does no harm
	if setting(limit) != startup.Memory {
		t.Errorf("while building, the limit is %d", setting(limit))
	}
	for range 1000 { // the collector is in no hurry to run cleanups
		runtime.GC()
		if setting(percent) == oldPercent && setting(limit) == oldLimit {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("afterwards the settings are %d and %d, not %d and %d", setting(percent), setting(limit), oldPercent, oldLimit)
}
