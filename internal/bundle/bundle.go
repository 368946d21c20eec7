// Package bundle exports images from a cache to one file or directory, and imports them from such bundles and from files of
// other tools.
//
// A bundle is an OCI layout, as a directory or a tar file. It contains manifest lists, manifests, configs and layers byte for
// byte, including Docker's, and index.json names them. Exporting the same images under the same names gives the same bytes.
// Each blob is verified while it is copied, and a bundle gets its name only when it is complete and synced.
//
// Input of an import is not trusted. Nothing becomes visible before all of an image is verified; names in the input never
// become file names; sizes, numbers of entries and names are bounded; and policy.json is checked. Blobs go through the
// cache's pool, so that an interrupted import resumes, and blobs in the pool are not read again.
//
// Digests limit what can be verified: layers of an image from docker save are verified against its config, whose digest is
// the image id; in docker's format before 1.10, even the config is made here.
package bundle

import (
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// A RefusedError reports an invalid argument; nothing was changed.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Formats of exports and imports, as named in policy.json.
const (
	FormatOCI     = "oci"         // an OCI layout in a directory
	FormatArchive = "oci-archive" // an OCI layout in a tar file
	formatDocker  = "docker-archive"
	formatDir     = "dir"
	formatTarball = "tarball" // a root file system, as an archive or a directory
)

// IsFormat reports whether a recorded transport is that of an import.
func IsFormat(transport string) bool {
	return slices.Contains([]string{FormatOCI, FormatArchive, formatDocker, formatDir, formatTarball}, transport)
}

const (
	// signaturesType is the artifact with the signatures of its subject, an image. Layouts have no place for signatures.
	// Its layers are the files signature-1, … of the dir: transport.
	signaturesType = "application/vnd.osbuild-containers.signatures.v1"
	signatureType  = "application/octet-stream"

	// schema1Type is the artifact with the schema 1 manifest from which its subject, an image, was converted. Its layers
	// are that manifest and its signatures.
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
