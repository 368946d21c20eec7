package pack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// blockSize is the block size of tar, in bytes.
const blockSize = 512

// archive writes the OCI archive. A blob is named by its digest, which is known only after it is written: room is left for its
// header, which is written last.
type archive struct {
	f     *os.File
	at    int64 // offset of the next entry
	mtime time.Time
	blobs map[string]bool // names of blobs written
}

// begin writes the entries before the first blob.
func (a *archive) begin() error {
	layout, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := a.file(v1.ImageLayoutFile, layout); err != nil {
		return err
	}
	for _, name := range []string{"blobs/", "blobs/sha256/"} {
		if err := a.header(a.at, &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}); err != nil {
			return err
		}
		a.at += blockSize
	}
	return nil
}

// documents writes the config, the manifest and the index, and ends the archive. It returns the descriptor of the manifest.
func (a *archive) documents(config *v1.Image, manifest *v1.Manifest) (desc v1.Descriptor, err error) {
	if manifest.Config, err = a.document(v1.MediaTypeImageConfig, config); err != nil {
		return desc, err
	}
	desc, err = a.document(v1.MediaTypeImageManifest, manifest)
	if err != nil {
		return desc, err
	}
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{desc},
	})
	if err != nil {
		return desc, err
	}
	if err = a.file(v1.ImageIndexFile, index); err != nil {
		return desc, err
	}
	_, err = a.f.WriteAt(make([]byte, 2*blockSize), a.at)
	return desc, err
}

func (a *archive) document(mediaType string, doc any) (v1.Descriptor, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return v1.Descriptor{}, err
	}
	w := a.blob(mediaType)
	if _, err := w.Write(raw); err != nil {
		return v1.Descriptor{}, err
	}
	return w.finish()
}

// file writes a small file.
func (a *archive) file(name string, content []byte) error {
	if _, err := a.f.WriteAt(content, a.at+blockSize); err != nil {
		return err
	}
	return a.end(name, int64(len(content)))
}

// end writes the header of the file whose content has been written, and moves to the next entry.
func (a *archive) end(name string, size int64) error {
	if err := a.header(a.at, &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	next := a.at + blockSize + (size+blockSize-1)/blockSize*blockSize
	if _, err := a.f.WriteAt(make([]byte, next-(a.at+blockSize+size)), a.at+blockSize+size); err != nil {
		return err
	}
	a.at = next
	return nil
}

// header writes a header of one block. Sizes too large for the classic format are in binary as in GNU tar, which all tools
// read.
func (a *archive) header(at int64, hdr *tar.Header) error {
	hdr.ModTime, hdr.Format = a.mtime, tar.FormatUSTAR
	if hdr.Size >= 8<<30 {
		hdr.Format = tar.FormatGNU
	}
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(hdr); err != nil {
		return err
	}
	if b.Len() != blockSize {
		return fmt.Errorf("header of %s is %d bytes long, want %d", hdr.Name, b.Len(), blockSize)
	}
	_, err := a.f.WriteAt(b.Bytes(), at)
	return err
}

// blob is a blob being written. Only one may be written at a time.
type blob struct {
	a         *archive
	mediaType string
	w         io.Writer
	sum       hash.Hash
	size      int64
}

// blob starts a blob.
func (a *archive) blob(mediaType string) *blob {
	return &blob{a: a, mediaType: mediaType, w: io.NewOffsetWriter(a.f, a.at+blockSize), sum: sha256.New()}
}

// Write appends to the blob.
func (b *blob) Write(p []byte) (int, error) {
	n, err := b.w.Write(p)
	_, _ = b.sum.Write(p[:n]) // a hash does not fail
	b.size += int64(n)
	return n, err
}

// finish names the blob. A duplicate is dropped: two layers may be equal.
func (b *blob) finish() (v1.Descriptor, error) {
	d := digest.NewDigest(digest.SHA256, b.sum)
	desc := v1.Descriptor{MediaType: b.mediaType, Digest: d, Size: b.size}
	if b.a.blobs[d.Encoded()] {
		return desc, b.a.f.Truncate(b.a.at)
	}
	b.a.blobs[d.Encoded()] = true
	return desc, b.a.end("blobs/sha256/"+d.Encoded(), b.size)
}
