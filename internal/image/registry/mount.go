package registry

import (
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/memory"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
)

// BlobLocations records which repositories are known to have which blobs, so that these are mounted instead of sent. It
// may be used by several destinations at the same time.
type BlobLocations struct {
	cache types.BlobInfoCache

	challenges sync.Map // by repository, where the registry itself has none: []internals.Challenge
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

// noCandidates records where blobs are and offers no candidates: the library then asks only the repository itself.
type noCandidates struct{ types.BlobInfoCache }

// CandidateLocations implements types.BlobInfoCache.
func (noCandidates) CandidateLocations(types.ImageTransport, types.BICTransportScope, digest.Digest, bool) []types.BICReplacementCandidate {
	return nil
}
