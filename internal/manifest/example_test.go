package manifest_test

import (
	"fmt"

	"osbuild-containers/internal/manifest"
)

func ExampleParse() {
	m, err := manifest.Parse([]byte(`{
		"schemaVersion": 2,
		"mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 500,
			"digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111"},
		"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 20000,
			"digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222"}]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("image id:", m.Config.Digest.Encoded()[:12])
	fmt.Println("layers:", len(m.Layers))
	fmt.Println("bytes:", m.Size())
	// Output:
	// image id: 111111111111
	// layers: 1
	// bytes: 20500
}

// Ambiguous documents are refused.
func ExampleParse_ambiguous() {
	_, err := manifest.Parse([]byte(`{"schemaVersion": 2, "layers": [], "manifests": []}`))
	fmt.Println(err)
	// Output:
	// manifest is ambiguous: it has both layers and manifests
}
