package internals

import (
	"reflect"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// AnyCompression makes the library use what a cache knows of the locations of a blob. It leaves out blobs of which it
// does not know the compression, which does not matter where digests stay as they are; the method that records it
// takes an internal type.
//
// It is assumed that the cache has the method RecordDigestCompressorData(digest, struct with the string field
// BaseVariantCompressor). Where it has not, nothing is recorded: blobs are sent again rather than mounted, and tests
// of the registry package fail.
func AnyCompression(cache types.BlobInfoCache, d digest.Digest) {
	record := reflect.ValueOf(cache).MethodByName("RecordDigestCompressorData")
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
