package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
)

// errNoDir reports a directory that is not in dir: format.
var errNoDir = errors.New("there is no manifest.json: this is not an image in the dir: format")

// Dir reads a directory in dir: format: one image, or a list and those of its images that are present.
func (t *Tree) Dir(ctx context.Context) (*Layout, error) { return dirOf(ctx, t.place) }

func dirOf(ctx context.Context, from place) (*Layout, error) {
	raw, err := readDocument(from, "manifest.json", "")
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoDir
	}
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw)
	if errors.Is(err, manifest.ErrSchema1) {
		d, err := convert(ctx, from, raw)
		return &Layout{Images: []*Document{d}}, err
	}
	if err != nil {
		return nil, err
	}
	top := &Document{Digest: digest.FromBytes(raw), Raw: raw, Manifest: m}
	if !m.List {
		top.Signatures, err = signatures(from, "")
		return &Layout{Images: []*Document{top}}, err
	}
	l := &Layout{Lists: []*Document{top}}
	return l, l.instances(from, top)
}

// convert converts a schema 1 image, which requires reading its layers.
func convert(ctx context.Context, from place, raw []byte) (*Document, error) {
	old, err := schema1.Parse(raw)
	if err != nil {
		return nil, err
	}
	layers, err := old.ReadLayers(ctx, func(d digest.Digest) (io.ReadCloser, error) {
		b, err := from.blob(d.Encoded())
		if errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("is missing")
		}
		return openBlob{b.Reader(), b}, err
	})
	if err != nil {
		return nil, err
	}
	now, err := old.Convert(layers)
	if err != nil {
		return nil, err
	}
	sigs, err := signatures(from, "")
	return &Document{
		Digest: digest.FromBytes(now.Manifest), Raw: now.Manifest, Manifest: now.Parsed,
		Schema1: &Schema1{Manifest: raw, Signatures: sigs, Config: now.Config},
	}, err
}

// openBlob is a reader that closes its blob.
type openBlob struct {
	io.Reader
	blob Blob
}

func (b openBlob) Close() error {
	b.blob.Close()
	return nil
}

// instances adds the manifests of a list that the directory contains.
func (l *Layout) instances(from place, list *Document) error {
	size := 0
	seen := map[digest.Digest]bool{}
	for _, e := range list.Manifest.Entries {
		if seen[e.Digest] {
			continue
		}
		seen[e.Digest] = true
		raw, err := readDocument(from, e.Digest.Encoded()+".manifest.json", e.Digest)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if size += len(raw); size > maxDocuments {
			return fmt.Errorf("manifests with more than the limit of %d bytes", maxDocuments)
		}
		d := &Document{Digest: e.Digest, Raw: raw, Lists: []digest.Digest{list.Digest}}
		d.Manifest, d.Err = manifest.Parse(raw)
		switch {
		case d.Err != nil:
			l.Others = append(l.Others, d)
		case d.Manifest.List:
			l.Lists = append(l.Lists, d)
		default:
			if d.Signatures, err = signatures(from, e.Digest.Encoded()+"-"); err != nil {
				return err
			}
			for _, sig := range d.Signatures {
				size += len(sig)
			}
			l.Images = append(l.Images, d)
		}
	}
	return nil
}

// signatures reads signature-1, signature-2 and so on.
func signatures(from place, prefix string) ([][]byte, error) {
	var sigs [][]byte
	var size int64
	for n := 1; ; n++ {
		sig, err := readDocument(from, prefix+"signature-"+strconv.Itoa(n), "")
		if errors.Is(err, os.ErrNotExist) {
			return sigs, nil
		}
		if err != nil {
			return nil, err
		}
		size += int64(len(sig))
		if err := manifest.CheckSignatures(n, size); err != nil {
			return nil, fmt.Errorf("read signatures: %w", err)
		}
		sigs = append(sigs, sig)
	}
}
