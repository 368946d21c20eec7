// Package answer has the JSON that the tool's commands write with --json: one type for each thing, whichever command
// shows it, so that a thing has the same names everywhere.
//
// The comments of the types and fields are the documentation: schemas/generate makes the schemas in schemas/output of
// them, and the tables of docs/json.md.
package answer

import (
	"time"

	"github.com/opencontainers/go-digest"
)

//go:generate go run ../../schemas/generate ../..

// Format is the version of an answer. Its zero value is version 1, so that no answer is without it.
type Format struct{}

// MarshalJSON returns the number 1.
func (Format) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

// An Image is an image by its id and its names.
type Image struct {
	ID       digest.Digest `json:"id"`                 // image id: the digest of the config
	Manifest digest.Digest `json:"manifest,omitempty"` // digest of the manifest; absent if it cannot be read
	Platform string        `json:"platform"`           // os/architecture[/variant] in Go's names; "" if it cannot be read
	Names    []string      `json:"names"`              // names in full, with tags
}

// A CachedImage is an image of a cache.
type CachedImage struct {
	Image
	List     digest.Digest `json:"list,omitempty"`            // digest of the manifest list that the image was pinned by, if it was
	Schema1  digest.Digest `json:"schema1Manifest,omitempty"` // digest of the manifest of Docker's schema 1 that the image was converted from, if it was
	Size     int64         `json:"size"`                      // bytes of config and layers, each blob once
	Unshared int64         `json:"unshared"`                  // bytes of its blobs that no other image of the cache has
	Created  time.Time     `json:"created,omitzero"`          // when the image was made; absent if it does not say
	Fetched  time.Time     `json:"fetched,omitzero"`          // when it was fetched or imported last; absent if that is not known
	Used     time.Time     `json:"used,omitzero"`             // when it was used last; absent if that is not known
	Origins  []Origin      `json:"origins"`                   // where it is from; empty if that is not recorded
	Error    string        `json:"error,omitempty"`           // what is damaged or missing, as far as that is seen without reading all of it
}

// An Origin is where an image of a cache is from.
type Origin struct {
	Reference string        `json:"reference"`                 // name in full, with its tag
	Pinned    digest.Digest `json:"pinned"`                    // digest that the name is pinned to: of a manifest list, or of the manifest
	Requested digest.Digest `json:"requested"`                 // digest that it was requested by, of the list or the manifest
	Transport string        `json:"transport"`                 // docker for a registry, containers-storage, tag for a name that tag gave, or the format of the file or directory that was imported
	Storage   string        `json:"storageLocation,omitempty"` // graph root of the containers-storage, if it is not the host's
	From      string        `json:"from,omitempty"`            // the mirror that served it, or the path of what was imported
	Fetched   time.Time     `json:"fetched,omitzero"`          // when; absent if the image was in the cache already
}

// A Layer is a layer of an image, the lowest first.
type Layer struct {
	Digest digest.Digest `json:"digest"` // digest of the blob
	Size   int64         `json:"size"`   // bytes of the blob, as served
}

// A CachedLayer is a layer of an image of a cache.
type CachedLayer struct {
	Layer
	MediaType string          `json:"mediaType,omitempty"` // media type; absent if the manifest does not say
	DiffID    digest.Digest   `json:"diffID,omitempty"`    // digest of the content, uncompressed; absent if the config does not say
	CreatedBy string          `json:"createdBy,omitempty"` // the step that made it; absent if the config does not say
	Images    []digest.Digest `json:"images"`              // ids of the images of the cache that have it, this one among them
	Missing   bool            `json:"missing"`             // the blob is not in the cache
}

// A Signature is a signature that was stored with an image. It was checked when it was fetched, and is not checked again here.
type Signature struct {
	Kind     string `json:"kind"`               // simple, which is OpenPGP, or sigstore
	Size     int64  `json:"size"`               // bytes
	Identity string `json:"identity,omitempty"` // the name that it says it signs; of sigstore only
}

// Blobs are a number of blobs, and their bytes.
type Blobs struct {
	Count int   `json:"blobCount"` // how many
	Bytes int64 `json:"bytes"`     // their size in all
}

// A Pin is an image that a pin file names.
type Pin struct {
	Reference string        `json:"reference"`                 // name in full, with its tag; with a digest where no tag was given
	Transport string        `json:"transport"`                 // docker for a registry, or containers-storage
	Storage   string        `json:"storageLocation,omitempty"` // graph root of the containers-storage, if it is not the host's
	Platform  string        `json:"platform"`                  // os/architecture[/variant] in Go's names, or any
	Pinned    digest.Digest `json:"pinned"`                    // digest that the reference is pinned to: the list's, or the manifest's where there is no list
	List      digest.Digest `json:"list,omitempty"`            // digest of the manifest list that has the manifest, if there is one
	Manifest  digest.Digest `json:"manifest"`                  // digest of the manifest
	ID        digest.Digest `json:"id"`                        // image id: the digest of the config
	Schema1   bool          `json:"schema1"`                   // the manifest is of Docker's schema 1; id and layers are those after its conversion
	Size      int64         `json:"size"`                      // bytes of the layers, each blob once
	Layers    []Layer       `json:"layers"`                    // layers, the lowest first
	Base      *Base         `json:"base,omitempty"`            // the image that it says it was built on, if it says so
	Resolved  time.Time     `json:"resolved"`                  // when the reference was found to be this image
	From      string        `json:"from,omitempty"`            // the mirror that served it, if it was not the registry that the reference names
}

// A Base is the image that another says it was built on.
type Base struct {
	Reference string        `json:"reference"` // its name
	Pinned    digest.Digest `json:"pinned"`    // its digest
}

// An Item is an image or a manifest list, as a request of osbuild names it.
type Item struct {
	Kind string        `json:"kind"` // image or list
	ID   digest.Digest `json:"id"`   // image id, or the digest of the list: the key of the item in a request of osbuild; "" if it cannot be read
}

// Sent is what was copied to a registry, in bytes. A blob that several repositories need counts for each.
type Sent struct {
	Bytes   int64 `json:"sent"`    // bytes sent over the network
	Mounted int64 `json:"mounted"` // bytes that the registry took from another of its repositories
	There   int64 `json:"there"`   // bytes that the repository had
}
