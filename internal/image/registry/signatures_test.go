package registry

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"osbuild-containers/internal/retry"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// attach serves an image with sigstore attachments with these payloads.
func attach(t *testing.T, img *images.Image, payloads ...[]byte) *registry.Faults {
	t.Helper()
	var layers []images.Option
	for _, p := range payloads {
		layers = append(layers, images.Use(images.LayerInfo{
			Digest: digestOf(p), Size: int64(len(p)), Blob: p, MediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
		}))
	}
	attached := images.New(layers...)
	return registry.NewFaults(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := img.Handler()
		if strings.HasSuffix(r.URL.Path, ".sig") || strings.Contains(r.URL.Path, "/blobs/") {
			h = attached.Handler()
		}
		h.ServeHTTP(w, r)
	}))
}

// TestLimitsOfSignatures pairs numbers and sizes of signatures with errors.
func TestLimitsOfSignatures(t *testing.T) {
	many := func(n, size int) (all [][]byte) {
		for i := range n {
			all = append(all, append(fmt.Append(nil, i), bytes.Repeat([]byte("x"), size)...))
		}
		return all
	}
	for name, c := range map[string]struct {
		simple, sigstore [][]byte
		want             string // "" is success
	}{
		"many":                          {many(127, 1000), nil, ""},
		"too many":                      {many(128, 1000), nil, "read signatures: there are more than 127"},
		"many attached":                 {nil, many(127, 1000), ""},
		"too many attached":             {nil, many(128, 1000), "read signatures: there are more than 127"},
		"too many together":             {many(64, 1000), many(64, 1000), "read signatures: there are more than 127"},
		"long":                          {nil, many(1, 3_000_000), ""},
		"long for what is published":    {nil, many(1, 4_000_000), "read signatures: they are longer than 4194304 bytes together"},
		"long together":                 {many(2, 2_200_000), nil, "read signatures: they are longer than 4194304 bytes together"},
		"long enough to fill a machine": {nil, many(20, 4_000_000), "read signatures: the registry's answer is longer than 16777216 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			img := images.New(images.Layer(10), images.Annotation("name", name))
			f := attach(t, img, c.sigstore...)
			for i, s := range c.simple {
				put(fmt.Sprintf("limits/a/b@sha256=%s/signature-%d", img.Digest.Encoded(), i+1), "\x89"+string(s))
			}
			put(".config/containers/registries.d/limits.yaml", fmt.Sprintf(
				"docker:\n  %s:\n    lookaside: file://%s/limits\n    use-sigstore-attachments: true\n", f.Addr, os.Getenv("HOME")))
			sigs, err := open(t, f.Addr, img).Signatures(t.Context(), "")
			switch {
			case c.want != "" && (err == nil || err.Error() != c.want):
				t.Errorf("%d signatures, %v; want %s", len(sigs), err, c.want)
			case c.want == "" && (err != nil || len(sigs) != len(c.simple)+len(c.sigstore)):
				t.Errorf("%d signatures, %v", len(sigs), err)
			}
			if err != nil {
				if class, _ := Classify(err); class != retry.Final {
					t.Error("it would be tried again")
				}
			}
			if n := f.BytesSent("/blobs/"); n > 2*maxResponses {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}
