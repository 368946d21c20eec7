package registry

import (
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/memory"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
)

// BlobLocations records which repositories have which blobs, so that blobs can be mounted instead of sent. It is safe for
// concurrent use by several destinations.
type BlobLocations struct {
	cache types.BlobInfoCache

	challenges sync.Map // by repository, if the registry itself has none: []internals.Challenge
}

// NewBlobLocations returns an empty record.
func NewBlobLocations() *BlobLocations { return &BlobLocations{cache: memory.New()} }

func (k *BlobLocations) learn(repository reference.Named, challenges []internals.Challenge) {
	k.challenges.Store(repository.Name(), challenges)
}

func (k *BlobLocations) challengesOf(repository reference.Named) []internals.Challenge {
	challenges, _ := k.challenges.Load(repository.Name())
	all, _ := challenges.([]internals.Challenge)
	return all
}

// noCandidates records blobs but offers no candidates, so that the library only asks the repository itself.
type noCandidates struct{ types.BlobInfoCache }

// CandidateLocations implements types.BlobInfoCache.
func (noCandidates) CandidateLocations(types.ImageTransport, types.BICTransportScope, digest.Digest, bool) []types.BICReplacementCandidate {
	return nil
}
