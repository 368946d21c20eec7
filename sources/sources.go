// Package sources has the sources of osbuild: what each is called and what it does. The directories beside it are
// their executables.
package sources

import (
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/module"
)

// Skopeo fetches container images by digest.
var Skopeo = module.Source{
	Name: "org.osbuild.skopeo",
	Example: `{"image": {"name": "registry.example.com/team/app",
      "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222"}}`,
	Download: fetch.Images,
	Copy:     fetch.CopyImages,
}

// SkopeoIndex fetches manifest lists of container images by digest.
var SkopeoIndex = module.Source{
	Name:     "org.osbuild.skopeo-index",
	Example:  `{"image": {"name": "registry.example.com/team/app"}}`,
	Download: fetch.Lists,
	Copy:     fetch.CopyLists,
}

// ContainersStorage reports whether images are in the host's container storage.
var ContainersStorage = module.Source{
	Name:     "org.osbuild.containers-storage",
	Example:  `{}`,
	Download: fetch.Stored,
	Copy:     fetch.StoredCopy,
}
