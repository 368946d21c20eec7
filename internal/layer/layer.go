// Package layer reads the layer of an image as a stream of tar entries.
//
// Layers are not trusted. A layer is read to its last byte while the digests of the blob and of the archive are computed.
// Data after the compressed data or after the end of the archive is an error, as is a premature end. The compression is
// detected from the first bytes: gzip (one or more members), zstd (including zstd:chunked) or none.
//
// Reading, decompressing and each digest have their own goroutine, and many streams may run at the same time: a Budget
// bounds the memory that they use together to read ahead.
//
// It guarantees that io.EOF follows the last entry only if both digests match; that a Tally has checked an entry against the
// Limits, for the layer and for the whole image, before the entry or its part of the archive is passed on; that only a
// few zeros follow the archive; and that a layer needs no more memory than its decompression window and a few buffers.
//
// It does not validate names, which is the caller's job. Data is not verified before io.EOF, so a caller that writes it must
// be able to fail later.
package layer

import (
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// Blob is a layer that can be opened any number of times.
type Blob struct {
	Digest digest.Digest // of the blob; "" if unknown
	DiffID digest.Digest // of the uncompressed tar archive; "" if unknown
	Size   int64         // of the blob, in bytes; negative if unknown
	Open   func() (io.ReadCloser, error)

	// Rewritten reports whether the data read so far differs from what size and digests describe, so that these are
	// not checked: it is then an archive of the same entries, verified by its writer. It may be nil, for never. It is
	// called concurrently with Read.
	Rewritten func() bool
}

func (b Blob) rewritten() bool { return b.Rewritten != nil && b.Rewritten() }

// Name names the layer in messages.
func (b Blob) Name() string {
	if b.Digest != "" {
		return b.Digest.String()
	}
	return b.DiffID.String()
}

// MismatchError reports a layer that does not match the image; What is "blob" or "archive".
type MismatchError = manifest.MismatchError
