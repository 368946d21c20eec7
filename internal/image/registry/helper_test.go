package registry

import (
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
)

func digestOf(b []byte) digest.Digest { return digest.FromBytes(b) }

func descriptor(l images.LayerInfo) manifest.Descriptor {
	return manifest.Descriptor{Digest: l.Digest, Size: l.Size, MediaType: l.MediaType}
}
