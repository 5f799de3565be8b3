package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// IntoContainerd returns a receiver that is a namespace of the containerd at a
// socket. The error wraps ErrNoReceiver where none answers.
func IntoContainerd(ctx context.Context, socket, namespace string) (Receiver, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReceiver, err)
	}
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := versionapi.NewVersionClient(conn).Version(ask, &emptypb.Empty{})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: containerd at %s: %w", ErrNoReceiver, socket, said(err))
	}
	return &containerd{conn: conn, namespace: namespace, version: strings.TrimPrefix(v.GetVersion(), "v")}, nil
}

type containerd struct {
	conn               *grpc.ClientConn
	namespace, version string
}

// String implements Receiver.
func (c *containerd) String() string {
	return fmt.Sprintf("containerd %s, namespace %s", c.version, c.namespace)
}

// Platform implements Receiver.
func (c *containerd) Platform() string { return "" }

// Close implements Receiver.
func (c *containerd) Close() error { return c.conn.Close() }

// leaseFor is how long containerd keeps what was sent of an image whose name
// never comes.
const leaseFor = time.Hour

// Load implements Receiver: it writes the blobs that are not there, and then
// the names. The layers are unpacked by who first runs the image.
func (c *containerd) Load(ctx context.Context, i *Image, t Tell) (Loaded, error) {
	out := Loaded{ID: i.Desc.Digest.String(), There: true}
	if len(i.Names) == 0 {
		return out, errors.New("containerd keeps images by their names, and this one has none; give it one with --name")
	}
	all, err := i.blobs(ctx)
	if err != nil {
		return out, err
	}
	ctx = namespaces.WithNamespace(ctx, c.namespace)
	ctx, done, err := c.lease(ctx)
	if err != nil {
		return out, err
	}
	defer done()
	store := proxy.NewContentStore(c.conn)
	for _, d := range all {
		if isForeign(d) {
			continue
		}
		t.tell(Event{Kind: Found, Ref: i.String(), Bytes: d.Size})
		sent, err := c.write(ctx, store, i, d, t)
		if err != nil {
			return out, said(err)
		}
		out.There = out.There && !sent
	}
	for _, n := range i.Names {
		if err := c.name(ctx, n, i.Desc); err != nil {
			return out, fmt.Errorf("name it %s: %w", n, said(err))
		}
	}
	return out, nil
}

// lease has containerd keep what is written until done is called.
func (c *containerd) lease(ctx context.Context) (leased context.Context, done func(), err error) {
	client := leasesapi.NewLeasesClient(c.conn)
	until := time.Now().Add(leaseFor).UTC().Format(time.RFC3339)
	made, err := client.Create(ctx, &leasesapi.CreateRequest{ID: fmt.Sprintf("kiln-%d", time.Now().UnixNano()), Labels: map[string]string{"containerd.io/gc.expire": until}})
	if err != nil {
		return ctx, nil, said(err)
	}
	id := made.GetLease().GetID()
	return leases.WithLease(ctx, id), func() {
		_, _ = client.Delete(context.WithoutCancel(ctx), &leasesapi.DeleteRequest{ID: id}) // it expires
	}, nil
}

// write writes a blob, with the labels by which containerd knows what it
// leads to, and reports whether it was sent.
func (c *containerd) write(ctx context.Context, store content.Store, i *Image, d ocispec.Descriptor, t Tell) (sent bool, err error) {
	children, err := i.children(ctx, d)
	if err != nil {
		return false, err
	}
	labels := labelsOf(children)
	info, err := store.Info(ctx, d.Digest)
	if err == nil {
		t.tell(Event{Kind: Skipped, Ref: i.String(), Bytes: d.Size})
		if len(labels) == 0 {
			return false, nil
		}
		info.Labels = labels
		var paths []string
		for k := range labels { // the order does not matter
			paths = append(paths, "labels."+k)
		}
		_, err = store.Update(ctx, info, paths...)
		return false, err
	}
	if !errdefs.IsNotFound(err) {
		return false, err
	}
	rc, err := i.counted(ctx, d, t, i.String())
	if err != nil {
		return false, err
	}
	defer rc.Close()
	err = content.WriteBlob(ctx, store, "kiln-"+d.Digest.String(), rc, ocispec.Descriptor{Digest: d.Digest, Size: d.Size}, content.WithLabels(labels))
	return true, err
}

// labelsOf returns the labels of a blob that leads to others.
func labelsOf(children []ocispec.Descriptor) map[string]string {
	labels := map[string]string{}
	count := map[string]int{}
	for _, child := range children {
		if isForeign(child) {
			continue
		}
		for _, key := range images.ChildGCLabels(child) {
			n := count[key]
			count[key]++
			if n > 0 || strings.HasSuffix(key, ".") {
				key = fmt.Sprintf("%s%d", key, n)
			}
			labels[key] = child.Digest.String()
		}
	}
	return labels
}

// said is an error of containerd in its words alone.
func said(err error) error {
	if st, ok := status.FromError(err); ok && st.Code() != codes.OK {
		return errors.New(st.Message())
	}
	return err
}

// name gives an image a name, taking it from the one that has it.
func (c *containerd) name(ctx context.Context, name string, d ocispec.Descriptor) error {
	client := imagesapi.NewImagesClient(c.conn)
	image := &imagesapi.Image{Name: name, Target: &types.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size}}
	_, err := client.Create(ctx, &imagesapi.CreateImageRequest{Image: image})
	if status.Code(err) == codes.AlreadyExists {
		_, err = client.Update(ctx, &imagesapi.UpdateImageRequest{Image: image})
	}
	return err
}
