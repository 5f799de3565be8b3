//go:build linux

package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// However little idle time an engine has, who started it gets to use it, also
// where opening its state took long.
func TestFirstUseIsAwaited(t *testing.T) {
	const idle = 200 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		u := newUses()
		time.Sleep(firstUse - time.Millisecond) // the state is opened
		u.open()
		time.Sleep(firstUse - time.Millisecond) // the starter is not scheduled
		if u.refuseIfIdle(idle) {
			t.Fatal("it is refused before its starter could come")
		}
		if !u.begin() {
			t.Fatal("the starter is refused")
		}
		time.Sleep(firstUse)
		if u.refuseIfIdle(idle) {
			t.Error("it is refused while it is used")
		}
		u.end()
		time.Sleep(idle - time.Millisecond)
		if u.refuseIfIdle(idle) {
			t.Error("it is refused too early")
		}
		time.Sleep(time.Millisecond)
		if !u.refuseIfIdle(idle) {
			t.Error("it is not refused once it is idle")
		}
		unused := newUses()
		unused.open()
		time.Sleep(firstUse)
		if !unused.refuseIfIdle(idle) {
			t.Error("one whose starter is gone waits for ever")
		}
	})
}

// An engine has its time to answer, and no more than the caller.
func TestSilenceIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		waiting, done := untilSilent(t.Context())
		defer done()
		<-waiting.Done()
		if took := time.Since(began); took != answerWait {
			t.Errorf("an engine has %v to answer, want %v", took, answerWait)
		}
		caller, end := context.WithCancel(t.Context())
		waiting, done = untilSilent(caller)
		defer done()
		end()
		<-waiting.Done()
		if took := time.Since(began); took != answerWait {
			t.Errorf("the caller's end is awaited for %v", took-answerWait)
		}
	})
}
