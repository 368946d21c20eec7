package bundle

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/progress"
	"osbuild-containers/test/images"
)

// A truncated archive is reported as such, wherever it ends. One that lacks only the zeros at its end is complete.
func TestCutOff(t *testing.T) {
	img := images.New(images.Layer(1000))
	for name, files := range map[string][]file{
		"oci-archive":    layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "example.com/app:1")}, blobsOf(img)...),
		"docker-archive": saved(img, asIs),
	} {
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(write(t, files...))
			must(t, err)
			end := len(bytes.TrimRight(whole, "\x00"))
			path := filepath.Join(t.TempDir(), "cut.tar")
			for n := 512; n <= end+1024; n += 256 {
				if n > end && n%512 != 0 {
					continue
				}
				must(t, os.WriteFile(path, whole[:n], 0o600))
				var said strings.Builder
				done, err := Import(t.Context(), cache.Open(t.TempDir()), path, ImportOptions{}, progress.NewLog(&said))
				if n >= end {
					if err != nil || done.Results[0].State != Added {
						t.Fatalf("%d bytes, all files: %v, %s", n, err, &said)
					}
					continue
				}
				if err == nil {
					err = done.Results[0].Err
				}
				if text := fmt.Sprint(said.String(), err); err == nil || !strings.Contains(text, "be cut off") && !strings.Contains(text, "is cut off") {
					t.Errorf("%d of %d bytes: got %v", n, end, err)
				}
			}
		})
	}
}
