package image

import (
	"errors"
	"fmt"
	"slices"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// uncompressedLayer is the media type of an uncompressed layer.
const uncompressedLayer = "application/vnd.docker.image.rootfs.diff.tar"

// ManifestOf returns a manifest for an image without one, such as one in a docker archive. Its layers are uncompressed,
// so the image id covers them.
func ManifestOf(config manifest.Descriptor, layers []manifest.Descriptor) ([]byte, error) {
	describe := func(kind string, d manifest.Descriptor) imgmanifest.Schema2Descriptor {
		return imgmanifest.Schema2Descriptor{MediaType: kind, Digest: d.Digest, Size: d.Size}
	}
	all := make([]imgmanifest.Schema2Descriptor, 0, len(layers))
	for _, l := range layers {
		all = append(all, describe(uncompressedLayer, l))
	}
	raw, err := imgmanifest.Schema2FromComponents(describe(imgmanifest.DockerV2Schema2ConfigMediaType, config), all).Serialize()
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return raw, nil
}

// ConfigOfV1 returns the config of an image in docker's format before 1.10: one JSON document for each layer, lowest
// first, with its diff ID. It is the config that docker creates when it loads the image, so the image ID is the same.
func ConfigOfV1(layers [][]byte, diffIDs []digest.Digest) ([]byte, error) {
	if len(layers) == 0 || len(layers) != len(diffIDs) {
		return nil, errors.New("make config: not a diff id for each layer")
	}
	var blobs []imgmanifest.Schema1FSLayers
	var history []imgmanifest.Schema1History
	for n, raw := range slices.Backward(layers) {
		blobs = append(blobs, imgmanifest.Schema1FSLayers{BlobSum: diffIDs[n]})
		history = append(history, imgmanifest.Schema1History{V1Compatibility: string(raw)})
	}
	m, err := imgmanifest.Schema1FromComponents(nil, blobs, history, "")
	if err != nil {
		return nil, fmt.Errorf("make config: %w", err)
	}
	config, err := m.ToSchema2Config(diffIDs)
	if err != nil {
		return nil, fmt.Errorf("make config: %w", err)
	}
	return config, nil
}
