// Package sources declares osbuild's sources: their names and what they do. The directories below it hold their
// executables.
package sources

import (
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/module"
)

// Skopeo fetches container images pinned by digest.
var Skopeo = module.Source{
	Name: "org.osbuild.skopeo",
	Example: `{"image": {"name": "registry.example.com/team/app",
      "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222"}}`,
	Download: fetch.Images,
	Copy:     fetch.CopyImages,
}

// SkopeoIndex fetches manifest lists (OCI indexes) pinned by digest.
var SkopeoIndex = module.Source{
	Name:     "org.osbuild.skopeo-index",
	Example:  `{"image": {"name": "registry.example.com/team/app"}}`,
	Download: fetch.Lists,
	Copy:     fetch.CopyLists,
}

// ContainersStorage reports whether images are in the host's containers storage.
var ContainersStorage = module.Source{
	Name:     "org.osbuild.containers-storage",
	Example:  `{}`,
	Download: fetch.Stored,
	Copy:     fetch.StoredCopy,
}
