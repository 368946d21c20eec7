// Package layer reads the layer of an image as a stream of tar entries.
//
// A layer is not trusted: it came from a registry, from an archive, from a store
// that something else wrote. So nothing about it is believed before it was read, and
// all of it is read: the blob to its last byte, while its digest and the digest of
// the archive in it are taken; what follows the compressed data or the end of the
// archive is an error, and so is an end that comes too early. The compression is
// what the first bytes say: gzip (of one or many members), zstd (zstd:chunked too)
// or none.
//
// Reading, decompressing and the two digests are goroutines of their own, and many
// streams may run at a time: a Budget bounds the memory that they take together
// to read ahead of their callers.
//
// What it promises: the last entry is followed by io.EOF only when both digests are
// right; no entry is returned, and no piece of an archive passed on, before a Tally has
// found it within the Limits, for a layer and for all layers of an image; nothing but
// zeros follows an archive, and few; one layer needs the memory of the window of its
// compression and of a few buffers.
//
// What it does not: it does not judge names, that is for the caller; and what is
// read before the end is not verified yet, so a caller that writes it must be able to
// fail later.
package layer

import (
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// Blob is a layer that can be opened, as often as need be.
type Blob struct {
	Digest digest.Digest // of the blob; "" if unknown
	DiffID digest.Digest // of the tar archive in it; "" if unknown
	Size   int64         // of the blob, in bytes; negative if unknown
	Open   func() (io.ReadCloser, error)

	// Rewritten reports whether what was read so far is not what size and digests are of, so
	// that they are not checked: the archive is one of the same entries, and who wrote it has
	// checked them. nil means never. It is called concurrently with Read.
	Rewritten func() bool
}

func (b Blob) rewritten() bool { return b.Rewritten != nil && b.Rewritten() }

// Name is how messages call the layer.
func (b Blob) Name() string {
	if b.Digest != "" {
		return b.Digest.String()
	}
	return b.DiffID.String()
}

// MismatchError reports a layer that is not what the image says it is; What is "blob" or "archive".
type MismatchError = manifest.MismatchError
