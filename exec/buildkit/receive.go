package buildkit

import (
	"context"
	"sync"

	"github.com/moby/buildkit/session/filesync"
	"google.golang.org/grpc"
)

// Outputs that come in. BuildKit's client writes what the daemon sends, and
// when its context ends it closes the directories, though data that has come
// already is still written to files in them: the process dies of a nil
// pointer. So the writing does not hear of the end of a context. It ends at
// the next message, which it is refused, and then nothing is written any more.

// receiveSteadily has all outputs of this process received so. BuildKit's
// client registers what receives them by itself, by a description that others
// can reach.
var receiveSteadily = sync.OnceFunc(func() {
	for i := range filesync.FileSend_ServiceDesc.Streams {
		d := &filesync.FileSend_ServiceDesc.Streams[i]
		d.Handler = receiving(d.Handler)
	}
})

// receiving is handler for a stream that ends with its messages only.
func receiving(handler grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) error {
		if err := stream.Context().Err(); err != nil {
			return err // nothing is begun for what was given up
		}
		return handler(srv, endlessStream{stream})
	}
}

type endlessStream struct{ grpc.ServerStream }

// Context implements grpc.ServerStream.
func (s endlessStream) Context() context.Context {
	return context.WithoutCancel(s.ServerStream.Context())
}
