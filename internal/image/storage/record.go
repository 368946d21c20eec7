package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// metadata is the metadata of an image in the library's storage transport: the lengths of the signatures, which are
// stored concatenated.
type metadata struct {
	Signature  []int                   `json:"signature-sizes,omitempty"`
	Signatures map[digest.Digest][]int `json:"signatures-sizes,omitempty"`
}

// record adds an image whose layers are in the store, in the form of the library's storage transport. The library's copy
// package would do the same, but needs a dozen more modules.
func (w *writer) record(ctx context.Context, it Item) error {
	name, err := Name(it.Image.Name())
	if err != nil {
		return err
	}
	config, err := it.Image.Config(ctx)
	if err != nil {
		return err
	}
	m := it.Image.Manifest()
	diffs, err := m.LayerDiffIDs(config)
	if err != nil {
		return err
	}
	top := ""
	for _, d := range diffs {
		top = chainID(top, d)
	}
	opt := w.imageOptions(it, config)
	id := m.Config.Digest.Encoded()
	switch _, err := w.store.CreateImage(id, nil, top, "", opt); {
	case errors.Is(err, storage.ErrDuplicateID):
		err = w.again(id, top, opt)
		if err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("record image %s: %w", id, err)
	}
	if err := w.store.AddNames(id, []string{name}); err != nil {
		return fmt.Errorf("name image %s %s: %w", id, name, err)
	}
	w.log.Note("image %q: is %s, with the id %s", it.Image.Name(), name, progress.Short(m.Config.Digest.String()))
	return nil
}

// again adds what is new to an image that is in the store.
func (w *writer) again(id, top string, opt *storage.ImageOptions) error {
	img, err := w.store.Image(id)
	if err != nil {
		return fmt.Errorf("record image %s: %w", id, err)
	}
	if img.TopLayer != top {
		return fmt.Errorf("record image %s: the storage has an image of that id, with other layers", id)
	}
	for _, d := range opt.BigData {
		if err := w.store.SetImageBigData(id, d.Key, d.Data, imgmanifest.Digest); err != nil {
			return fmt.Errorf("record %s of image %s: %w", d.Key, id, err)
		}
	}
	if err := w.store.SetMetadata(id, opt.Metadata); err != nil {
		return fmt.Errorf("record metadata of image %s: %w", id, err)
	}
	return nil
}

func (w *writer) imageOptions(it Item, config []byte) *storage.ImageOptions {
	m, raw := it.Image.Manifest(), it.Image.Raw()
	opt := &storage.ImageOptions{}
	if w.opt.Epoch != nil {
		opt.CreationDate = w.time()
	}
	var made struct {
		Created time.Time `json:"created"`
	}
	if err := manifest.Unmarshal(config, &made); err == nil && !made.Created.IsZero() { // the library replaces a zero time with now
		opt.CreationDate = made.Created
	}
	add := func(key string, data []byte, d digest.Digest) {
		opt.BigData = append(opt.BigData, storage.ImageBigDataOption{Key: key, Data: data, Digest: d})
	}
	add(m.Config.Digest.String(), config, m.Config.Digest)
	before := it.Lists // podman shows the digest of the first manifest
	if origin := it.Image.Origin(); origin != nil {
		before = append(slices.Clone(before), origin)
	}
	for _, doc := range before {
		d := digest.FromBytes(doc)
		add("manifest-"+d.String(), doc, d)
	}
	d := digest.FromBytes(raw)
	add("manifest-"+d.String(), raw, d)
	add(storage.ImageDigestBigDataKey, raw, d)
	var meta metadata
	if sigs := it.Image.Signatures(); len(sigs) > 0 && !it.RemoveSignatures {
		var all []byte
		for _, sig := range sigs {
			all = append(all, sig...)
			meta.Signature = append(meta.Signature, len(sig))
		}
		meta.Signatures = map[digest.Digest][]int{d: meta.Signature}
		add("signatures", all, digest.FromBytes(all))
		add("signature-"+d.Encoded(), all, digest.FromBytes(all))
	}
	text, err := json.Marshal(meta)
	if err != nil {
		panic(err) // numbers and digests always have a JSON form
	}
	opt.Metadata = string(text)
	return opt
}

// time returns the time for everything new.
func (w *writer) time() time.Time { return time.Unix(*w.opt.Epoch, 0).UTC() }
