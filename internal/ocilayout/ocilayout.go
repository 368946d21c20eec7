// Package ocilayout reads and writes images as plain files: directories in dir: format, OCI layouts and archives of them. It
// also reads archives of docker save.
//
// Content that is read stays compressed: a blob is a byte range of a file, which the kernel can clone or copy. Ambiguous
// manifests are refused. A blob that is missing or has the wrong size is an error before any of it is read. Nothing outside
// the directory or archive is opened, whatever names it contains. Layers are not verified by reading: the caller does that.
//
// Written images are not recompressed and keep their manifest and its digest, with one exception: an OCI layout has no
// Docker manifests, so these get OCI's media types, with the same config and layers; the image id stays the same. The bytes
// depend on the images only. A blob is cloned if the file system can, and otherwise copied, but never linked, since the
// original's owner could then change it. It is verified, cloned or not, before it gets its name. If an image cannot be
// written completely, the blobs already written stay.
package ocilayout

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// A Source is where an image to write is read from.
type Source interface {
	Name() string // name of the image in messages
	Manifest() *manifest.Manifest
	Raw() []byte          // bytes of the manifest
	Signatures() [][]byte // in the format of the dir: transport
	blobSource
}

// An Item is an image to write.
type Item struct {
	Source
	Reference        string // name in an OCI layout; empty for none
	RemoveSignatures bool
}

// Options apply to everything written.
type Options struct {
	Epoch *int64 // time of everything written, in seconds; nil means now, and 0 in an archive
	Log   *progress.Reporter
}

// SignedError reports a signed image for a destination that cannot store signatures.
type SignedError struct{ Destination string }

func (e *SignedError) Error() string {
	return "is signed, and " + e.Destination + " has no place for signatures"
}

// Hint implements the interface of package hint.
func (e *SignedError) Hint() hint.Hint { return hint.New("set remove-signatures to leave them behind") }

// WriteDir writes the image in dir: format to the directory, which must be empty or contain another such image.
func WriteDir(ctx context.Context, to *os.File, img Item, opt Options) error {
	f := newDirWriter(to, opt)
	defer f.close()
	if err := f.clear("version", "Directory Transport Version: "); err != nil {
		return err
	}
	if err := f.write("version", []byte("Directory Transport Version: 1.1\n")); err != nil {
		return err
	}
	if err := f.blobs(ctx, "", []Item{img}); err != nil {
		return err
	}
	if !img.RemoveSignatures {
		for i, sig := range img.Signatures() {
			if err := f.write("signature-"+strconv.Itoa(i+1), sig); err != nil {
				return err
			}
		}
	}
	if err := f.write("manifest.json", img.Raw()); err != nil {
		return err
	}
	return f.finish()
}

// WriteLayout adds the images to the OCI layout in the directory, which may be empty.
func WriteLayout(ctx context.Context, to *os.File, images []Item, opt Options) error {
	docs, err := documents(images, "an OCI layout")
	if err != nil {
		return err
	}
	f := newDirWriter(to, opt)
	defer f.close()
	index, err := f.index()
	if err != nil {
		return err
	}
	for _, dir := range []string{"blobs", "blobs/sha256"} {
		if err := f.mkdir(dir); err != nil {
			return err
		}
	}
	if err := f.blobs(ctx, blobDir, images); err != nil {
		return err
	}
	for _, d := range docs {
		if err := f.write(blobDir+d.digest.Encoded(), d.raw); err != nil {
			return err
		}
		index.add(d)
	}
	if err := f.write(v1.ImageLayoutFile, []byte(layoutVersion)); err != nil {
		return err
	}
	if err := f.write(v1.ImageIndexFile, index.encode()); err != nil {
		return err
	}
	return f.finish()
}

// WriteArchive writes the image as an OCI archive called name in the directory.
func WriteArchive(ctx context.Context, in *os.File, name string, img Item, opt Options) error {
	docs, err := documents([]Item{img}, "an OCI archive")
	if err != nil {
		return err
	}
	var index index
	index.add(docs[0])
	err = put(in, name, opt, func(out *os.File) error {
		a := &archiveWriter{out: out, opt: opt}
		begin(a, index.encode(), [][]byte{docs[0].raw})
		if err := a.blobs(ctx, img); err != nil {
			return err
		}
		return a.finish()
	})
	if err != nil {
		return fmt.Errorf("image %q: %w", img.Name(), err)
	}
	return nil
}

// time returns the time of everything written.
func (o Options) time() (t time.Time, given bool) {
	if o.Epoch == nil {
		return time.Unix(0, 0), false
	}
	return time.Unix(*o.Epoch, 0), true
}

// told logs a written blob.
func (o Options) told(img Item, d manifest.Descriptor, how string, began time.Time) {
	layers := img.Manifest().Layers
	for i, l := range layers {
		if l.Digest == d.Digest {
			o.Log.Note("image %q: layer %d/%d %s: %s %s, %.1f s", img.Name(), i+1, len(layers),
				progress.Short(d.Digest.String()), progress.Bytes(d.Size), how, time.Since(began).Seconds())
			return
		}
	}
}
