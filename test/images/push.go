package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// PushOption changes how something is pushed.
type PushOption func(*pusher)

// Via pushes through a client that has the credentials and certificates needed.
func Via(c *http.Client) PushOption { return func(p *pusher) { p.client = c } }

// Header adds a header, such as Authorization, to every request.
func Header(name, value string) PushOption {
	return func(p *pusher) { p.header.Set(name, value) }
}

type pusher struct {
	base   string
	client *http.Client
	header http.Header

	mu   sync.Mutex
	sent map[string]bool // repo and digest
}

// Push pushes the image to a registry ("http://127.0.0.1:5000") as "repo/name",
// by digest only, or "repo/name:tag".
func (img *Image) Push(t testing.TB, base, name string, opts ...PushOption) {
	t.Helper()
	if err := Push(img, base, name, opts...); err != nil {
		t.Fatal(err)
	}
}

// Push pushes the list with all that it names; see Image.Push.
func (l *List) Push(t testing.TB, base, name string, opts ...PushOption) {
	t.Helper()
	if err := Push(l, base, name, opts...); err != nil {
		t.Fatal(err)
	}
}

// Push pushes an image or a list where there is no test to fail.
func Push(e Entry, base, name string, opts ...PushOption) error {
	p := &pusher{base: base, client: http.DefaultClient, header: http.Header{}, sent: map[string]bool{}}
	for _, o := range opts {
		o(p)
	}
	repo, tag, _ := strings.Cut(name, ":")
	if err := e.push(p, repo); err != nil {
		return fmt.Errorf("push %s: %w", name, err)
	}
	if tag == "" {
		return nil
	}
	var err error
	switch e := e.(type) {
	case *Image:
		err = p.manifest(repo, tag, e.MediaType, e.Raw)
	case *List:
		err = p.manifest(repo, tag, e.MediaType, e.Raw)
	}
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	return nil
}

func (img *Image) push(p *pusher, repo string) error {
	var group errgroup.Group
	group.SetLimit(4)
	if img.Config != nil {
		group.Go(func() error { return p.blob(repo, img.ID, img.Config) })
	}
	for _, l := range img.Layers {
		if l.URLs == nil {
			group.Go(func() error { return p.blob(repo, l.Digest, l.Blob) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.manifest(repo, img.Digest.String(), img.MediaType, img.Raw)
}

func (l *List) push(p *pusher, repo string) error {
	for _, e := range l.Entries {
		if err := e.push(p, repo); err != nil {
			return err
		}
	}
	return p.manifest(repo, l.Digest.String(), l.MediaType, l.Raw)
}

// blob uploads a blob, once for each repository.
func (p *pusher) blob(repo string, d digest.Digest, data []byte) error {
	p.mu.Lock()
	known := p.sent[repo+" "+d.String()]
	p.sent[repo+" "+d.String()] = true
	p.mu.Unlock()
	if known {
		return nil
	}
	start, err := url.Parse(p.base + "/v2/" + repo + "/blobs/uploads/")
	if err != nil {
		return err
	}
	answer, err := p.do(http.MethodPost, start.String(), "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	location, err := start.Parse(answer.Get("Location"))
	if err != nil {
		return fmt.Errorf("start of upload: %w", err)
	}
	query := location.Query()
	query.Set("digest", d.String())
	location.RawQuery = query.Encode()
	_, err = p.do(http.MethodPut, location.String(), "application/octet-stream", data, http.StatusCreated)
	return err
}

func (p *pusher) manifest(repo, ref, mediaType string, raw []byte) error {
	_, err := p.do(http.MethodPut, p.base+"/v2/"+repo+"/manifests/"+url.PathEscape(ref), mediaType, raw, http.StatusCreated)
	return err
}

// do makes a request and returns the header of the answer, which must have the
// wanted status.
func (p *pusher) do(method, url, contentType string, data []byte, want int) (http.Header, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header = p.header.Clone()
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, resp.Status, answer)
	}
	return resp.Header, err
}
