// Package bundle exports images from a cache to one file or directory, and imports them into a cache from
// these and from the files of other tools.
//
// A bundle is an OCI layout, as a directory or a tar file: manifest lists, manifests, configs and
// layers are in it byte for byte as they are pinned, Docker's too, and index.json names them. It
// promises that the same images under the same names give the same bytes, that each blob is
// verified while it is copied, and that a bundle has its name when it is complete and on disk, not
// before.
//
// Input of an import is not trusted. Nothing of it is visible before all of an image was
// verified; names in it never become names of files; sizes, entries and names are bounded; and
// policy.json is asked. A blob goes through the cache's pool, so that an import that was killed
// continues where it stopped, and what is in the pool is not read again.
//
// Not more is verified than digests can verify: the layers of an image that docker saved are
// verified against its config, whose digest is the image id; in the format of docker before 1.10 even
// the config is made here.
package bundle

import (
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// A RefusedError reports an argument that cannot be used; nothing was changed.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Formats of exports and imports, by their names in policy.json.
const (
	FormatOCI     = "oci"         // an OCI layout in a directory
	FormatArchive = "oci-archive" // one in a tar file
	formatDocker  = "docker-archive"
	formatDir     = "dir"
	formatTarball = "tarball" // a root file system, as an archive or a directory
)

// IsFormat reports whether an image with that transport in its record was imported from a file or directory.
func IsFormat(transport string) bool {
	return slices.Contains([]string{FormatOCI, FormatArchive, formatDocker, formatDir, formatTarball}, transport)
}

const (
	// signaturesType is the artifact that carries the signatures of an image, which is its subject:
	// layouts have no place for them. Its layers are the files signature-1, … of the dir: transport.
	signaturesType = "application/vnd.osbuild-containers.signatures.v1"
	signatureType  = "application/octet-stream"

	// schema1Type is the artifact that carries the manifest of Docker's schema 1 that an image, which is its subject, was
	// converted from. Its layers are that manifest and its signatures.
	schema1Type = "application/vnd.osbuild-containers.schema1.v1"
)

var errNoManifest = errors.New("its manifest is not of this image")

// parseImage parses the manifest of an image.
func parseImage(raw []byte, id digest.Digest) (*manifest.Manifest, error) {
	m, err := manifest.Parse(raw)
	if err == nil && (m.List || m.Config.Digest != id) {
		err = errNoManifest
	}
	return m, err
}
