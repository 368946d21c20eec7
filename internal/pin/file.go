// Package pin turns references with tags into digests, keeps them in a file, and tells whether they
// are still true.
//
// It promises that what a pin names is what was served at the time it says: manifest list,
// manifest and image id are taken from bytes whose digests were computed here. A pin file is sorted
// and stable, so that a change of one image is a change of one block.
package pin

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// FileName is what a pin file is called where nobody says otherwise.
const FileName = "containers.lock.json"

// File is the content of a pin file; schemas/containers.lock.schema.json describes it.
type File struct {
	Version int     `json:"version"` // 1
	Images  []Image `json:"images"`  // sorted by reference, then platform
}

// Image is one image that is pinned.
type Image struct {
	Reference string        `json:"reference"`           // with its tag, as skopeo would write it in full
	Transport string        `json:"transport,omitempty"` // "" is docker; or containers-storage
	Platform  string        `json:"platform"`            // os/architecture[/variant]
	List      digest.Digest `json:"list,omitempty"`      // the manifest list that names the manifest, if there is one
	Manifest  digest.Digest `json:"manifest"`
	ID        digest.Digest `json:"id"` // image id: digest of the config
	Layers    []Layer       `json:"layers"`
	Resolved  time.Time     `json:"resolved"`       // UTC, whole seconds
	From      string        `json:"from,omitempty"` // the mirror that served it, if it was not the registry named
}

// Layer is one layer of a pinned image, lowest first.
type Layer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes, as served
}
