//go:build linux

package engine

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The engine's own service, beside BuildKit's on the same socket. Kilns of
// other versions meet over it, so it only grows. A Status travels as JSON.
const (
	serviceName  = "kiln.engine.v1.Engine"
	methodStatus = "/" + serviceName + "/Status" // Empty → Status
	methodStop   = "/" + serviceName + "/Stop"   // Bool: end running builds → Empty; the engine ends after the answer
	methodAttach = "/" + serviceName + "/Attach" // Empty → one Status, then silence for as long as the engine is held in use
)

// service is what the engine's own service needs of a daemon.
type service interface {
	status() Status
	stop(force bool)
	attach(ctx context.Context, ready func() error) error
}

func registerService(s *grpc.Server, d service) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*service)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Status", Handler: unary(func(d service, _ *emptypb.Empty) (any, error) { return packStatus(d.status()) })},
			{MethodName: "Stop", Handler: unary(func(d service, force *wrapperspb.BoolValue) (any, error) {
				d.stop(force.GetValue())
				return &emptypb.Empty{}, nil
			})},
		},
		Streams: []grpc.StreamDesc{{StreamName: "Attach", ServerStreams: true, Handler: serveAttach}},
	}, d)
}

// unary makes a handler of the shape that generated code has.
func unary[T any](do func(service, *T) (any, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, wrap grpc.UnaryServerInterceptor) (any, error) {
		in := new(T)
		if err := decode(in); err != nil {
			return nil, err
		}
		call := func(context.Context, any) (any, error) { return do(srv.(service), in) }
		if wrap == nil {
			return call(ctx, in)
		}
		return wrap(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + serviceName}, call)
	}
}

func serveAttach(srv any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	d := srv.(service)
	return d.attach(stream.Context(), func() error {
		m, err := packStatus(d.status())
		if err != nil {
			return err
		}
		return stream.SendMsg(m)
	})
}

func packStatus(s Status) (*wrapperspb.BytesValue, error) {
	b, err := json.Marshal(s)
	return wrapperspb.Bytes(b), err
}

func unpackStatus(m *wrapperspb.BytesValue) (Status, error) {
	var s Status
	err := json.Unmarshal(m.GetValue(), &s)
	return s, err
}
