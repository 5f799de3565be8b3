package buildkit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
)

// A sender is the daemon's end of the transfer of one directory with a file.
// It gives up when the file was asked for, after which data still comes in.
type sender struct {
	grpc.ServerStream
	ctx    context.Context
	giveUp func()
	list   []*types.Packet
	asked  chan struct{}
}

func (s *sender) Context() context.Context { return s.ctx }

func (s *sender) SendMsg(m any) error {
	if m.(*types.Packet).Type == types.PACKET_REQ {
		close(s.asked)
	}
	return nil
}

func (s *sender) RecvMsg(m any) error {
	if len(s.list) == 0 {
		return s.ctx.Err()
	}
	next := s.list[0]
	s.list = s.list[1:]
	if next.Type == types.PACKET_DATA {
		<-s.asked
		s.giveUp()
		time.Sleep(50 * time.Millisecond) // a receiver that hears of it closes the file's directory now
	}
	p := m.(*types.Packet)
	p.Type, p.ID, p.Data, p.Stat = next.Type, next.ID, next.Data, next.Stat
	return nil
}

// TestReceiveGivenUp: an output that is given up while data comes in ends with
// the context's error.
func TestReceiveGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &sender{ctx: ctx, giveUp: cancel, asked: make(chan struct{}), list: []*types.Packet{
		{Type: types.PACKET_STAT, Stat: &types.Stat{Path: "bin", Mode: uint32(os.ModeDir | 0o755)}},
		{Type: types.PACKET_STAT, Stat: &types.Stat{Path: "bin/file", Mode: 0o644, Size: 4}},
		{Type: types.PACKET_STAT},
		{Type: types.PACKET_DATA, ID: 1, Data: []byte("data")},
	}}
	dir := filepath.Join(t.TempDir(), "out")
	receiveSteadily()
	handler := filesync.FileSend_ServiceDesc.Streams[0].Handler
	srv := filesync.NewFSSyncTarget(filesync.WithFSSyncDir(0, dir))
	if err := handler(srv, s); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "bin", "file")); err != nil || string(data) != "data" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := handler(srv, s); !errors.Is(err, context.Canceled) {
		t.Errorf("what was given up before ends with %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("what was given up before has made its directory")
	}
}
