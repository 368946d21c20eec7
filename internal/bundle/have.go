package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/ocilayout"
)

// Have is the set of blobs that the destination already has, with their sizes in bytes.
type Have map[digest.Digest]int64

// blobDir is where a layout stores blobs.
const blobDir = "blobs/sha256/"

// AddLayout adds the blobs of the OCI layout at path, a directory or an archive. It trusts their names and does not read
// them.
func (h Have) AddLayout(ctx context.Context, path string) error {
	t, err := ocilayout.OpenTree(ctx, path)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &RefusedError{err}
	}
	defer t.Close()
	if !t.Has("index.json") {
		return &RefusedError{fmt.Errorf("%s is neither a bundle nor another OCI layout", path)}
	}
	if !t.Archive() {
		return h.readDir(filepath.Join(path, filepath.FromSlash(blobDir)))
	}
	for _, name := range t.Names() {
		if hex, ok := strings.CutPrefix(name, blobDir); ok {
			if b, err := t.File(name); err == nil {
				h.add(hex, b.Size)
			}
		}
	}
	return nil
}

func (h Have) add(name string, size int64) {
	if d := digest.NewDigestFromEncoded(digest.SHA256, name); d.Validate() == nil {
		h[d] = size
	}
}

func (h Have) readDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
			h.add(e.Name(), fi.Size())
		}
	}
	return nil
}

// has reports whether the blob is there.
func (h Have) has(d digest.Digest, size int64) bool {
	got, ok := h[d]
	return ok && got == size
}
