package bundle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/scratch"
)

// input is a file or directory with images.
type input struct {
	path   string          // absolute
	format string          // name in policy.json
	tree   *ocilayout.Tree // nil for a root file system
	lists  []*ocilayout.Document
	images []*foundImage
	broken []Result // items that cannot be used
	notes  []string
	signed int // bytes of signatures read
}

// foundImage is an image of an input.
type foundImage struct {
	id         digest.Digest
	names      []string
	pins       map[string]digest.Digest // digest of the manifest or list, by name
	raw        []byte
	m          *manifest.Manifest
	list       []byte // list that names it, or nil
	signatures [][]byte
	old        *cache.Schema1 // source of raw's conversion, or nil
	made       bool           // raw was made here from the config
	open       func(digest.Digest) (content, error)
}

// title names the image in messages.
func (i *foundImage) title() string {
	if len(i.names) > 0 {
		return i.names[0]
	}
	return i.id.String()
}

// platform returns what the image's config says that it is for, or "" if that cannot be read.
func (i *foundImage) platform() string {
	c, err := i.open(i.m.Config.Digest)
	if err != nil {
		return ""
	}
	defer c.close()
	raw := c.bytes
	if raw == nil && !c.packed {
		raw, _ = io.ReadAll(io.NewSectionReader(c.File, c.Offset, min(c.Size, manifest.MaxSize)))
	}
	p, err := manifest.PlatformOf(raw)
	if err != nil || p.Architecture == "" {
		return ""
	}
	return p.String()
}

// content is a blob in a file or in memory. It is closed by close.
type content struct {
	ocilayout.Blob
	packed bool   // file is compressed
	bytes  []byte // the content, if in memory; otherwise nil
}

func (c content) close() {
	if c.bytes == nil {
		c.Close()
	}
}

// open reads the content of a file or a directory, except for blobs.
func open(ctx context.Context, path string) (*input, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &RefusedError{err}
	}
	tree, err := ocilayout.OpenTree(ctx, path)
	return inputOf(ctx, path, abs, tree, err)
}

// stdin is the path of standard input in records and in policy.json.
const stdin = "/dev/stdin"

// readFrom is open for a stream.
func readFrom(ctx context.Context, r io.Reader) (*input, error) {
	tree, err := ocilayout.ReadTree(ctx, "standard input", r)
	return inputOf(ctx, "standard input", stdin, tree, err)
}

// inputOf reads the content of a tree unless err is set. path is its name in messages.
func inputOf(ctx context.Context, path, abs string, tree *ocilayout.Tree, err error) (*input, error) {
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, ok := errors.AsType[*scratch.FileError](err); ok {
		return nil, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &RefusedError{err}
	}
	if err != nil {
		return nil, &RefusedError{hint.Add(err, "import reads OCI layouts, archives of docker save, and directories of the dir: format")}
	}
	c := &input{path: abs, tree: tree}
	err = c.read(ctx)
	if err == nil && len(c.images)+len(c.lists)+len(c.broken) == 0 {
		err = &hint.List{What: "there is no image in it", Items: c.notes}
	}
	if !tree.Ended() {
		c.notes = append(c.notes, path+" has no end, as an archive has it: it may be cut off")
	}
	if err != nil {
		defer tree.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !tree.Ended() {
			err = hint.Add(fmt.Errorf("the archive is cut off: %w", err), "copy or export it again")
		}
		if errors.Is(err, ocilayout.ErrNotSaved) {
			err = hint.Add(err, "import a root file system with --rootfs NAME")
		}
		return nil, &RefusedError{fmt.Errorf("%s: %w", path, err)}
	}
	return c, nil
}

// read detects the format. Archives of recent versions of docker save have a complete layout, and a manifest.json for older
// versions.
func (c *input) read(ctx context.Context) error {
	l, err := c.tree.Layout()
	if err == nil {
		c.format = FormatOCI
		if c.tree.Archive() {
			c.format = FormatArchive
		}
		return c.layout(l, ocilayout.BlobName)
	}
	if !errors.Is(err, ocilayout.ErrNoLayout) {
		return err
	}
	raw, err := c.tree.Document("manifest.json", "")
	switch {
	case errors.Is(err, os.ErrNotExist):
		c.format = formatDocker
		return c.savedV1(ctx)
	case err != nil:
		return err
	case bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")):
		c.format = formatDocker
		return c.saved(ctx)
	}
	c.format = formatDir
	if l, err = c.tree.Dir(ctx); err != nil {
		return err
	}
	return c.layout(l, digest.Digest.Encoded)
}

// layout adds the images of a layout or of a directory in dir: format. at returns the file of a blob.
func (c *input) layout(l *ocilayout.Layout, at func(digest.Digest) string) error {
	c.lists = l.Lists
	lists := map[digest.Digest]*ocilayout.Document{}
	for _, d := range l.Lists {
		lists[d.Digest] = d
	}
	byDigest := map[digest.Digest]*foundImage{}
	for _, d := range l.Images {
		img := &foundImage{
			id: d.Manifest.Config.Digest, names: c.named(d.Names), raw: d.Raw, m: d.Manifest, signatures: d.Signatures,
			open: func(b digest.Digest) (content, error) {
				blob, err := c.tree.File(at(b))
				return content{Blob: blob}, err
			},
		}
		if s := d.Schema1; s != nil {
			img.old = &cache.Schema1{Manifest: s.Manifest, Signatures: s.Signatures}
			file := img.open
			img.open = func(b digest.Digest) (content, error) {
				if b == img.id {
					return content{bytes: s.Config}, nil
				}
				return file(b)
			}
		}
		if len(d.Lists) > 0 {
			img.list = lists[slices.Min(d.Lists)].Raw
		}
		img.pins = map[string]digest.Digest{}
		for _, by := range d.Lists {
			for _, name := range c.named(lists[by].Names) {
				img.pins[name] = by
			}
		}
		for _, name := range c.named(d.Own) {
			img.pins[name] = d.Digest
		}
		byDigest[d.Digest] = img
		c.images = append(c.images, img)
	}
	for _, d := range l.Others {
		if err := c.other(d, byDigest); err != nil {
			return err
		}
	}
	return nil
}

// named returns the names that are more than a tag.
func (c *input) named(names []string) []string {
	var full []string
	for _, name := range names {
		named, err := reference.ParseNormalizedNamed(name)
		if err == nil && strings.ContainsAny(name, "/:") {
			full = append(full, named.String())
		}
	}
	return full
}

// other handles a document that is not an image: signatures, an artifact, or a damaged document.
func (c *input) other(d *ocilayout.Document, images map[digest.Digest]*foundImage) error {
	if !errors.Is(d.Err, manifest.ErrArtifact) {
		c.broken = append(c.broken, Result{
			Kind: "image", Manifest: d.Digest, Names: c.named(d.Names), State: Failed,
			Err: fmt.Errorf("manifest %s: %w", cmp.Or(d.Digest, "without a digest"), d.Err),
		})
		return nil
	}
	var a v1.Manifest
	ours := json.Unmarshal(d.Raw, &a) == nil && (a.ArtifactType == signaturesType || a.ArtifactType == schema1Type)
	if !ours || a.Subject == nil || images[a.Subject.Digest] == nil {
		c.notes = append(c.notes, fmt.Sprintf("%s is left out: %v", d.Digest, d.Err))
		return nil
	}
	img := images[a.Subject.Digest]
	if n := len(img.signatures) + len(a.Layers); n > manifest.MaxSignatures {
		return fmt.Errorf("image %s has %d signatures, the limit is %d", img.title(), n, manifest.MaxSignatures)
	}
	files, err := c.attached(img, a.Layers)
	if err != nil {
		return err
	}
	switch {
	case a.ArtifactType == signaturesType:
		img.signatures = append(img.signatures, files...)
	case len(files) > 0:
		img.old = &cache.Schema1{Manifest: files[0], Signatures: files[1:]}
	}
	return nil
}

// attached reads the attachments of an image.
func (c *input) attached(img *foundImage, layers []v1.Descriptor) ([][]byte, error) {
	var files [][]byte
	for _, l := range layers {
		if l.Digest.Validate() != nil {
			return nil, fmt.Errorf("signatures of image %s: invalid digest %q", img.title(), l.Digest)
		}
		file, err := c.tree.Document(ocilayout.BlobName(l.Digest), l.Digest)
		if err != nil {
			return nil, fmt.Errorf("signatures of image %s: %w", img.title(), err)
		}
		if c.signed += len(file); c.signed > maxSigned {
			return nil, fmt.Errorf("its signatures have more than the limit of %d bytes", maxSigned)
		}
		files = append(files, file)
	}
	return files, nil
}

// maxSigned limits the signatures of all images of an input, in bytes.
const maxSigned = 64 << 20
