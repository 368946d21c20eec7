// Package ocilayout reads and writes images as plain files: directories of the dir: format, OCI layouts, and archives of
// them; it also reads what docker save writes.
//
// What is read stays packed: a blob is a byte range of a file, which can be read, cloned or copied by the kernel. A
// manifest is understood in one way or refused; a blob that is missing, or has another size than the manifest says, is
// an error before anything of it is read; nothing outside the directory or the archive is opened, whatever names are in
// it. Digests of layers are not verified by reading: the caller verifies them.
//
// What is written is not recompressed, and has the manifest that the image has, so that its digest stays, with one
// exception: an OCI layout has no Docker manifests, so such a manifest is written with OCI's media types, the same
// config and the same layers; the image keeps its id. The bytes depend on the images alone. A blob is cloned where the
// file system can, and else copied; it is never a link to the file it is read from, which others would change with it.
// It is verified, cloned or not, before it has its name. Of an image that could not be written completely, the blobs
// that could be stay.
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

// A Source is what an image to write is read from.
type Source interface {
	Name() string // names the image in messages
	Manifest() *manifest.Manifest
	Raw() []byte          // the bytes of the manifest
	Signatures() [][]byte // in the format of the dir: transport
	blobSource
}

// An Item is an image to write.
type Item struct {
	Source
	Reference        string // its name in an OCI layout; empty for none
	RemoveSignatures bool
}

// Options are about all that is written.
type Options struct {
	Epoch *int64 // the time of what is written, in seconds; nil for now, and 0 in an archive
	Log   *progress.Reporter
}

// SignedError says that an image has signatures and the destination no place for them.
type SignedError struct{ Destination string }

func (e *SignedError) Error() string {
	return "is signed, and " + e.Destination + " has no place for signatures"
}

// Hint is the remedy.
func (e *SignedError) Hint() hint.Hint { return hint.New("set remove-signatures to leave them behind") }

// WriteDir writes the image as a directory of the dir: format at the directory, which is empty or
// has another such image.
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

// WriteArchive writes the image as an OCI archive in the directory, under that name.
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

// time is the time of what is written.
func (o Options) time() (t time.Time, given bool) {
	if o.Epoch == nil {
		return time.Unix(0, 0), false
	}
	return time.Unix(*o.Epoch, 0), true
}

// told logs a blob that was written.
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
