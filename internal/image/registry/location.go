package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/request"
)

// location is one repository to read an image from: its own or a mirror's. It connects at the first request.
type location struct {
	sys     *types.SystemContext
	logical types.ImageReference // the requested image
	place   sysregistriesv2.PullSource
	given   *request.Login // nil: credentials are looked up

	mu         sync.Mutex
	pinned     digest.Digest
	open       []*reader             // the last one is current
	challenges []internals.Challenge // of the repository, if the registry itself has none
	disabled   error                 // why the location is no longer used
}

func newLocations(sys *types.SystemContext, img Image, places []sysregistriesv2.PullSource) ([]*location, error) {
	named, err := img.named(sys)
	if err != nil {
		return nil, err
	}
	logical, err := docker.NewReference(named)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", img.Name, err)
	}
	all := make([]*location, len(places))
	for i, p := range places {
		all[i] = &location{sys: sys, logical: logical, place: p, pinned: img.Pinned}
		if reference.Domain(p.Reference) == reference.Domain(named) {
			all[i].given = img.Access.Login
		}
	}
	return all, nil
}

// name returns the name of the repository.
func (l *location) name() string { return l.place.Reference.Name() }

// pinTo pins a location that was opened by tag.
func (l *location) pinTo(pinned digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned = pinned
	for _, r := range l.open {
		r.pinned = pinned
	}
}

// do sends a request to the location. If the repository, unlike its registry, requires credentials, do repeats the
// request with them.
func (l *location) do(ctx context.Context, ask func(context.Context, *location, *reader) error) error {
	r, err := l.reader(ctx, nil)
	if err != nil {
		return err
	}
	err = r.login.denied(ask(ctx, l, r))
	var challenge *challengeError
	if !errors.As(err, &challenge) {
		return err
	}
	l.mu.Lock()
	l.challenges = challenge.challenges
	l.mu.Unlock()
	if r, err = l.reader(ctx, r); err != nil {
		return err
	}
	return r.login.denied(ask(ctx, l, r))
}

// reader returns the current connection. It connects if there is none, or if the current one is old.
func (l *location) reader(ctx context.Context, old *reader) (*reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.open); n > 0 && l.open[n-1] != old {
		return l.open[n-1], nil
	}
	physical, err := docker.NewReference(l.place.Reference)
	if err != nil {
		return nil, err
	}
	sys, login, err := withLogin(l.sys, l.name(), l.given)
	if err != nil {
		return nil, err
	}
	src, client, err := internals.NewSource(ctx, sys, l.logical, physical)
	if err != nil {
		return nil, err
	}
	if err := connect(ctx, sys, client, login, reference.Domain(l.place.Reference), l.place.Endpoint.Insecure, l.challenges); err != nil {
		return nil, login.denied(err)
	}
	r := &reader{src: src, pinned: l.pinned, login: login, client: client}
	l.open = append(l.open, r)
	return r, nil
}

// disable stops using the location.
func (l *location) disable(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disabled = err
}

func (l *location) disabledBy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.disabled
}

func (l *location) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, r := range l.open {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// headKey is the context key of a *headResponse, for a request that needs only the digest of a manifest.
type headKey struct{}

type headResponse struct{ header http.Header }

// head returns the digest of a source's manifest without reading it. The source cannot be used afterwards.
func head(ctx context.Context, src types.ImageSource) (digest.Digest, error) {
	response := &headResponse{}
	if _, _, err := src.GetManifest(context.WithValue(ctx, headKey{}, response), nil); err != nil {
		return "", err
	}
	d := digest.Digest(response.header.Get("Docker-Content-Digest"))
	return d, d.Validate()
}

// blobBody is the body of a blob, starting at an offset. A negative size is unknown.
type blobBody struct {
	io.ReadCloser
	start, at, size int64
	broke           func(err error, moved bool) error // called if the body ends early
	err             error
}

// Read implements io.Reader.
func (b *blobBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	b.at += int64(n)
	if err == nil || b.size >= 0 && b.at >= b.size || b.size < 0 && err == io.EOF {
		return n, err
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("answer ended early: got %d bytes, want %d%.0w", b.at, b.size, io.ErrUnexpectedEOF)
	}
	b.err = b.broke(err, b.at > b.start)
	return n, b.err
}
