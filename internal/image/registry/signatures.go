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

// Signatures returns the signatures of a manifest, from the lookaside and those attached to the image. A default
// lookaside that cannot be read is skipped.
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

// unreadLookaside returns the default lookaside directory with the file that err says cannot be read, or "" for all other
// errors. Skipping it is safe: a policy that requires a signature refuses an image without one.
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
