package manifest_test

import (
	"encoding/json"
	"testing"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
)

// TestPlatformsHaveGoNames normalizes platforms from configs and lists.
func TestPlatformsHaveGoNames(t *testing.T) {
	for in, want := range map[[3]string]string{
		{"linux", "amd64", ""}:     "linux/amd64",
		{"linux", "x86_64", ""}:    "linux/amd64",
		{"Linux", "x86-64", "v3"}:  "linux/amd64/v3",
		{"linux", "X86_64", ""}:    "linux/amd64",
		{"linux", "aarch64", ""}:   "linux/arm64",
		{"linux", "aarch64", "8"}:  "linux/arm64/v8",
		{"linux", "arm64", "v8"}:   "linux/arm64/v8",
		{"linux", "armhfp", ""}:    "linux/arm/v7",
		{"linux", "armhf", "v6"}:   "linux/arm/v6",
		{"linux", "armel", ""}:     "linux/arm/v6",
		{"linux", "arm", "7"}:      "linux/arm/v7",
		{"linux", "arm", ""}:       "linux/arm",
		{"linux", "i686", ""}:      "linux/386",
		{"linux", "ppc64el", ""}:   "linux/ppc64le",
		{"linux", "ppc64le", "8"}:  "linux/ppc64le/8",
		{"linux", "s390x", ""}:     "linux/s390x",
		{"windows", "sparc64", ""}: "windows/sparc64",
		{"", "", ""}:               "unknown",
	} {
		raw, err := json.Marshal(map[string]string{"os": in[0], "architecture": in[1], "variant": in[2]})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := manifest.PlatformOf(raw); err != nil || got.String() != want {
			t.Errorf("config of %q: got %s, %v, want %s", in, &got, err, want)
		}
		img := images.New(images.OS(in[0]), images.Arch(in[1]), images.Variant(in[2]))
		list, err := manifest.Parse(images.NewList(images.Of(img)).Raw)
		if err != nil || list.Entries[0].Platform.String() != want {
			t.Errorf("list of %q: got %+v, %v, want %s", in, list, err, want)
		}
	}
}
