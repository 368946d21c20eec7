// Package layout writes images as files: as a directory of the dir: format, as an OCI
// layout, and as an archive of one.
//
// What it promises: nothing is recompressed, and the manifest is the one that the image
// has, so that its digest stays, with one exception: an OCI layout has no Docker
// manifests, so such a manifest is written in OCI's words, with the same config and
// layers, and the image keeps its id. What is written depends on the images alone: an
// archive is the same byte for byte, and so is each file of a directory.
//
// A blob is cloned where the file system can, and else copied; it is never a link to the
// file that it is read from, which others would change with it. What has been written is
// verified, cloned or not, before it has its name.
//
// What it does not: of an image that could not be written completely, the files that could
// be stay where they are.
package layout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"time"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// Image is an image to write.
type Image struct {
	*input.Image
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

// Dir writes the image as a directory of the dir: format at the directory, which is empty or
// has another such image.
func Dir(ctx context.Context, to *os.File, img Image, opt Options) error {
	f := newFolder(to, opt)
	defer f.close()
	if err := f.clear("version", "Directory Transport Version: "); err != nil {
		return err
	}
	if err := f.write("version", []byte("Directory Transport Version: 1.1\n")); err != nil {
		return err
	}
	if err := f.blobs(ctx, "", []Image{img}); err != nil {
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

// OCI adds the images to the OCI layout in the directory, which may be empty.
func OCI(ctx context.Context, to *os.File, images []Image, opt Options) error {
	docs, err := documents(images, "an OCI layout")
	if err != nil {
		return err
	}
	f := newFolder(to, opt)
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
	if err := f.write("oci-layout", []byte(layoutVersion)); err != nil {
		return err
	}
	if err := f.write("index.json", index.encode()); err != nil {
		return err
	}
	return f.finish()
}

// Archive writes the image as an OCI archive in the directory, under that name.
func Archive(ctx context.Context, in *os.File, name string, img Image, opt Options) error {
	docs, err := documents([]Image{img}, "an OCI archive")
	if err != nil {
		return err
	}
	var index index
	index.add(docs[0])
	err = put(in, name, opt, func(out *os.File) error {
		a := &archive{out: out, opt: opt}
		a.file("oci-layout", []byte(layoutVersion))
		a.file("index.json", index.encode())
		a.folder("blobs/")
		a.folder(blobDir)
		a.file(blobDir+docs[0].digest.Encoded(), docs[0].raw)
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

// told says of a blob that it is there.
func (o Options) told(img Image, d manifest.Descriptor, how string, began time.Time) {
	layers := img.Manifest().Layers
	for i, l := range layers {
		if l.Digest == d.Digest {
			o.Log.Note("image %q: layer %d/%d %s: %s %s, %.1f s", img.Name(), i+1, len(layers),
				progress.Short(d.Digest.String()), progress.Bytes(d.Size), how, time.Since(began).Seconds())
			return
		}
	}
}

// sum is a SHA-256 that is being taken.
type sum struct {
	h interface{ Sum([]byte) []byte }
}

func (s sum) String() string { return "sha256:" + hex.EncodeToString(s.h.Sum(nil)) }

var newHash = sha256.New
