package images

// Media types of manifests and their parts.
const (
	OCIManifest     = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex        = "application/vnd.oci.image.index.v1+json"
	OCIConfig       = "application/vnd.oci.image.config.v1+json"
	OCIEmpty        = "application/vnd.oci.empty.v1+json"
	OCILayer        = "application/vnd.oci.image.layer.v1.tar"
	OCIForeignLayer = "application/vnd.oci.image.layer.nondistributable.v1.tar"

	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList         = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig       = "application/vnd.docker.container.image.v1+json"
	DockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	DockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar"

	DockerSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// family is the set of media types an image is written in.
type family struct{ manifest, list, config, layer, foreign, dot string }

var (
	oci    = family{OCIManifest, OCIIndex, OCIConfig, OCILayer, OCIForeignLayer, "+"}
	docker = family{DockerManifest, DockerList, DockerConfig, DockerLayer, DockerForeignLayer, "."}
)

// layerType returns the media type of a layer, such as …tar+gzip.
func (f family) layerType(c Compression, foreign bool) string {
	base := f.layer
	if foreign {
		base = f.foreign
	}
	if c == Plain {
		return base
	}
	return base + f.dot + string(c)
}
