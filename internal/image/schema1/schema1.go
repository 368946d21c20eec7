// Package schema1 parses manifests of Docker's schema 1, the image format before 2016, and converts them as skopeo and
// podman do, with their library.
//
// Such a manifest contains its own signatures: its digest is that of the signed part, and only that part is read. It has no
// config, so the image ID is known only after conversion, which needs the diff IDs of the layers. The conversion is
// deterministic: the same manifest and layers give the same bytes.
package schema1

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/libtrust"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
)

// Image is a manifest of schema 1.
type Image struct {
	*manifest.Schema1
	Digest  digest.Digest // of the signed part
	Payload []byte        // the signed part
}

// Digest returns the digest of a manifest: of the signed part if it is of schema 1, otherwise of all of it.
func Digest(raw []byte) (digest.Digest, error) {
	if !manifest.IsSchema1(raw) {
		return digest.FromBytes(raw), nil
	}
	_, d, err := payload(raw)
	return d, err
}

// payload returns the signed part of a manifest, or all of it if it has no signatures, and its digest.
func payload(raw []byte) (signed []byte, d digest.Digest, err error) {
	err = panics.Catch(func() (err error) {
		signed, d, err = split(raw)
		return err
	})
	if _, is := errors.AsType[*panics.Error](err); is { // the library panics on some invalid lengths
		err = errors.New("it cannot be parsed")
	}
	if err != nil {
		return nil, "", fmt.Errorf("manifest has an invalid signature: %w", err)
	}
	if digest.FromBytes(signed) != d {
		return nil, "", errors.New("manifest is ambiguous: it is not clear which part of it is signed")
	}
	return signed, d, nil
}

// split is payload by the library, which determines part and digest independently.
func split(raw []byte) ([]byte, digest.Digest, error) {
	d, err := imgmanifest.Digest(raw)
	if err != nil || imgmanifest.GuessMIMEType(raw) != imgmanifest.DockerV2Schema1SignedMediaType {
		return raw, d, err
	}
	js, err := libtrust.ParsePrettySignature(raw, "signatures")
	if err != nil {
		return nil, "", err
	}
	signed, err := js.Payload()
	return signed, d, err
}

// Parse parses a manifest of schema 1. It does not verify signatures: the digest pins what they sign, and the keys were
// never published.
func Parse(raw []byte) (*Image, error) {
	if len(raw) > manifest.MaxSize {
		return nil, fmt.Errorf("manifest is %d bytes long, the limit is %d", len(raw), manifest.MaxSize)
	}
	signed, d, err := payload(raw)
	if err != nil {
		return nil, err
	}
	m, err := manifest.ParseSchema1(signed)
	if err != nil {
		return nil, err
	}
	return &Image{Schema1: m, Digest: d, Payload: signed}, nil
}

// A Layer is what a conversion needs to know of a layer.
type Layer struct {
	DiffID digest.Digest
	Size   int64 // of the blob, in bytes
}

// Converted is a converted image.
type Converted struct {
	ID       digest.Digest // image ID, the digest of Config
	Config   []byte
	Manifest []byte
	Parsed   *manifest.Manifest // of Manifest
}

// Convert converts the image to Docker's schema 2. layers must have every blob of Blobs.
func (i *Image) Convert(layers map[digest.Digest]Layer) (*Converted, error) {
	old, err := imgmanifest.Schema1FromManifest(i.Payload)
	if err != nil {
		return nil, fmt.Errorf("convert manifest of schema 1: %w", err)
	}
	same := slices.EqualFunc(old.LayerInfos(), i.Layers, func(a imgmanifest.LayerInfo, b manifest.Schema1Layer) bool {
		return a.Digest == b.Digest && a.EmptyLayer == b.Empty
	})
	if !same {
		return nil, errors.New("convert manifest of schema 1: it is ambiguous: the library finds other layers in it")
	}
	var diffIDs []digest.Digest
	var blobs []imgmanifest.Schema2Descriptor
	for _, l := range i.Layers {
		if l.Empty {
			continue
		}
		known, is := layers[l.Digest]
		if !is {
			return nil, fmt.Errorf("convert manifest of schema 1: layer %s is unknown", l.Digest)
		}
		diffIDs = append(diffIDs, known.DiffID)
		blobs = append(blobs, imgmanifest.Schema2Descriptor{
			MediaType: imgmanifest.DockerV2Schema2LayerMediaType, Size: known.Size, Digest: l.Digest,
		})
	}
	c := &Converted{}
	if c.Config, err = old.ToSchema2Config(diffIDs); err != nil {
		return nil, fmt.Errorf("convert manifest of schema 1: %w", err)
	}
	c.ID = digest.FromBytes(c.Config)
	c.Manifest, err = imgmanifest.Schema2FromComponents(imgmanifest.Schema2Descriptor{
		MediaType: imgmanifest.DockerV2Schema2ConfigMediaType, Size: int64(len(c.Config)), Digest: c.ID,
	}, blobs).Serialize()
	if err != nil {
		return nil, fmt.Errorf("convert manifest of schema 1: %w", err)
	}
	if c.Parsed, err = manifest.Parse(c.Manifest); err == nil {
		var ids []digest.Digest // a history entry may have a field that decoders mistake for rootfs
		if ids, err = c.Parsed.LayerDiffIDs(c.Config); err == nil && !slices.Equal(ids, diffIDs) {
			err = errors.New("the config is ambiguous: it has other diff ids, too")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("convert manifest of schema 1: %w", err)
	}
	return c, nil
}

// Gives returns an error unless raw, a manifest of schema 1, converts to the image with that manifest and config. It reads
// no layer: the config has their diff IDs.
func Gives(raw, converted, config []byte) error {
	i, err := Parse(raw)
	if err != nil {
		return err
	}
	m, err := manifest.Parse(converted)
	if err != nil {
		return err
	}
	diffIDs, err := m.LayerDiffIDs(config)
	if err != nil {
		return err
	}
	layers := make(map[digest.Digest]Layer, len(diffIDs))
	for n, l := range m.Layers {
		layers[l.Digest] = Layer{diffIDs[n], l.Size}
	}
	for _, l := range i.Layers {
		if _, is := layers[l.Digest]; !is && !l.Empty {
			return fmt.Errorf("it is the manifest of another image, with the layer %s", l.Digest)
		}
	}
	c, err := i.Convert(layers)
	if err == nil && (!bytes.Equal(c.Manifest, converted) || !bytes.Equal(c.Config, config)) {
		err = fmt.Errorf("it is the manifest of another image, %s", c.ID)
	}
	return err
}
