package registry

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/homedir"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/library"
)

// Signatures returns the signatures of a manifest, those of a lookaside and those attached to the image in the
// registry. One of the default lookasides that cannot be read is passed over.
func (r *reader) Signatures(ctx context.Context, d digest.Digest) ([][]byte, error) {
	r.lookaside.Lock()
	defer r.lookaside.Unlock()
	sigs, err := library.Signatures(limited(ctx), r.src, d)
	dir := unreadLookaside(err)
	if dir == "" {
		return sigs, err
	}
	passOver(dir, err)
	if err := r.client.NoLookaside(); err != nil {
		return nil, err
	}
	return library.Signatures(limited(ctx), r.src, d)
}

// unreadLookaside returns the directory, of those in which the library looks for signatures where none is configured,
// that has the file which err says cannot be read; "" for all other errors. A policy that wants a signature refuses
// an image without one.
func unreadLookaside(err error) string {
	var unread *fs.PathError
	if !errors.As(err, &unread) {
		return ""
	}
	for _, dir := range []string{"/var/lib/containers/sigstore", filepath.Join(homedir.Get(), ".local/share/containers/sigstore")} {
		if strings.HasPrefix(unread.Path, dir+"/") {
			return dir
		}
	}
	return ""
}
