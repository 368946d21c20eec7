package storage

import (
	"context"
	"fmt"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"

	"osbuild-containers/internal/hint"
)

// readable refuses an image that podman could not read from the store, since one such image makes podman fail on the whole
// store. It asks the library, which is what podman reads with.
func readable(ctx context.Context, it Item) error {
	raw := it.Image.Raw()
	remedy := hint.New("its manifest has media types that do not belong together: build it again with those of OCI or of Docker, not both, or use the destination oci, which has those of OCI")
	m, err := imgmanifest.FromBlob(raw, imgmanifest.GuessMIMEType(raw))
	if err == nil {
		_, err = m.Inspect(func(types.BlobInfo) ([]byte, error) {
			remedy = hint.Hint{} // it is the config
			return it.Image.Config(ctx)
		})
	}
	if err != nil {
		return hint.With(fmt.Errorf("image %q: podman could not read it from a containers storage: %w", it.Image.Name(), err), remedy)
	}
	return nil
}
