package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/request"
)

// OpenStored opens the image with that id in the containers storage at location, a graph
// root, whatever the digest of its manifest is: the id is the digest of its config, which
// pins the layers too. It returns the manifest as the store has it; Publishable makes of
// it the one that names the layers as they come out.
func OpenStored(ctx context.Context, location string, id digest.Digest) (Source, []byte, error) {
	st, err := OpenStore(location)
	if err != nil {
		return nil, nil, err
	}
	s, raw, err := st.openByID(ctx, id)
	if err != nil {
		return nil, nil, reword(errors.Join(err, st.Close()))
	}
	return wording{s}, raw, nil
}

func (s *Store) openByID(ctx context.Context, id digest.Digest) (*storedSource, []byte, error) {
	src, err := s.open(ctx, Target{Image: request.Image{StorageLocation: s.root}, ID: id})
	if err != nil {
		return nil, nil, err
	}
	raw, _, err := src.src.GetManifest(ctx, nil)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the manifest of image %s in containers storage %s: %w", id, s.root, err), src.src.Close())
	}
	return src, raw, nil
}
