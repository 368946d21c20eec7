package registry

import (
	"reflect"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/memory"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
)

// Known is which repositories have which blobs, as far as that is known.
type Known struct {
	cache types.BlobInfoCache

	challenges sync.Map // by repository, where the registry itself has none: []internals.Challenge
}

// NewKnown knows nothing.
func NewKnown() *Known { return &Known{cache: memory.New()} }

func (k *Known) learn(repository reference.Named, challenges []internals.Challenge) {
	k.challenges.Store(repository.Name(), challenges)
}

func (k *Known) challengesOf(repository reference.Named) []internals.Challenge {
	challenges, _ := k.challenges.Load(repository.Name())
	all, _ := challenges.([]internals.Challenge)
	return all
}

// anyCompression makes the library use what is known of a blob. It leaves out blobs of which it does
// not know the compression, which does not matter where digests stay as they are; to say it is not
// possible without reflection, since the type is internal. Tests fail when an update of the library
// changes that: blobs would then be sent again rather than mounted.
func (k *Known) anyCompression(d digest.Digest) {
	record := reflect.ValueOf(k.cache).MethodByName("RecordDigestCompressorData")
	if !record.IsValid() || record.Type().NumIn() != 2 || record.Type().In(1).Kind() != reflect.Struct {
		return
	}
	data := reflect.New(record.Type().In(1)).Elem()
	field := data.FieldByName("BaseVariantCompressor")
	if !field.IsValid() || field.Kind() != reflect.String {
		return
	}
	field.SetString("uncompressed")
	record.Call([]reflect.Value{reflect.ValueOf(d), data})
}

// noCandidates learns where blobs are, and does not tell: the library then only asks the repository
// itself.
type noCandidates struct{ types.BlobInfoCache }

// CandidateLocations implements types.BlobInfoCache.
func (noCandidates) CandidateLocations(types.ImageTransport, types.BICTransportScope, digest.Digest, bool) []types.BICReplacementCandidate {
	return nil
}
