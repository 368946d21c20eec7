// Package pack makes an image from trees: each tree becomes a layer of one OCI archive.
//
// It guarantees that the same trees and options give the same bytes, whatever the order of names on disk, the number of
// cores and the umask. If an epoch is given, no time in the archive is later. Trees are walked by directory handles without
// following links; a file or directory that changes while it is read is an error. No uncompressed copy is stored. Memory grows
// with the number of cores (at most 16 are used), not with the trees, except for the names of one directory and of hard
// links. The archive appears under its name complete or not at all, and in the intended directory, whatever links that
// contains.
//
// A layer records owners by number, modes, times with nanoseconds, hard links within the layer, devices, FIFOs, the extended
// attributes user.*, security.capability and security.ima, and POSIX ACLs. Holes of sparse files are written as zeros, which
// every tool reads and which compress well. Sockets are left out, since an archive cannot hold them. Names that start with
// .wh. are written unchanged: they are whiteouts when the layer is unpacked.
//
// It does not sync the archive: the caller syncs the tree that contains it when that is complete.
package pack

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// Layer is one tree to pack.
type Layer struct {
	Name string // name in the image's history and in messages
	Path string // directory
}

// Image describes the image, apart from its layers.
type Image struct {
	Platform    v1.Platform
	Config      v1.ImageConfig
	Annotations map[string]string // of the manifest
	Created     time.Time         // all times other than those of files
	Epoch       *time.Time        // if not nil, later times of files become this one
	Compression Compression
}

// Logf logs one line, given without a newline.
type Logf func(format string, args ...any)

// Archive writes the layers, lowest first, as an image to the file name in the directory root. Symbolic links in the path are
// resolved as if root were the root of the file system; a link at the file's own place is replaced.
func Archive(ctx context.Context, root, name string, layers []Layer, img Image, logf Logf) error {
	if err := img.Compression.Check(); err != nil {
		return err
	}
	out, err := atomicfile.Create(root, name)
	if err != nil {
		return fmt.Errorf("create archive %q: %w", name, err)
	}
	defer out.Discard()
	a := &archive{f: out.File, mtime: img.Created, blobs: map[string]bool{}}
	made, err := a.image(ctx, layers, img, logf)
	if err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return fmt.Errorf("finish archive %q: %w", name, err)
	}
	if logf != nil {
		logf("%s: image %s, manifest %s, %s, %s", name, made.config, made.manifest, made.platform, made.size())
	}
	return nil
}

// made describes a written image.
type made struct {
	config, manifest digest.Digest
	platform         string
	layers           []v1.Descriptor
}

// size returns the number of layers and their total size, as text.
func (m *made) size() string {
	var bytes int64
	for _, l := range m.layers {
		bytes += l.Size
	}
	return progress.Count(len(m.layers), "layer") + ", " + progress.Bytes(bytes)
}

// image writes everything, in an order in which each part knows the digests it needs.
func (a *archive) image(ctx context.Context, layers []Layer, img Image, logf Logf) (*made, error) {
	if err := a.begin(); err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	config := v1.Image{Created: &img.Created, Platform: img.Platform, Config: img.Config}
	config.RootFS.Type = "layers"
	doc := v1.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   v1.MediaTypeImageManifest,
		Annotations: img.Annotations,
	}
	for i, l := range layers {
		p := packer{logf: logf, label: fmt.Sprintf("layer %d/%d %s", i+1, len(layers), l.Name)}
		desc, diffID, err := p.layer(ctx, a, l.Path, img)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.label, err)
		}
		doc.Layers = append(doc.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, v1.History{
			Created:   &img.Created,
			CreatedBy: "/bin/sh -c #(nop) osbuild input '" + l.Name + "'",
		})
	}
	desc, err := a.documents(&config, &doc)
	if err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	on := manifest.Platform{OS: img.Platform.OS, Architecture: img.Platform.Architecture, Variant: img.Platform.Variant}
	return &made{config: doc.Config.Digest, manifest: desc.Digest, platform: on.String(), layers: doc.Layers}, nil
}
