package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/hint"
	"osbuild-containers/test/images"
)

// named returns index entries with the same document under many names.
func named(raw []byte, mediaType string, n int) (entries []map[string]any) {
	for i := range n {
		entries = append(entries, entry(raw, mediaType, fmt.Sprintf("example.com/app:%d", i)))
	}
	return entries
}

// TestTooManyNames imports small layouts with millions of names, or that would take hours to read.
func TestTooManyNames(t *testing.T) {
	img := images.New(images.Layer(50))
	list := images.NewList(images.Of(img))
	nested := []byte(`{"manifests": [` + strings.Repeat(string(toJSON(entry(list.Raw, v1.MediaTypeImageIndex, "")))+",", 4999) + string(toJSON(entry(list.Raw, v1.MediaTypeImageIndex, ""))) + `]}`)
	for want, entries := range map[string][]map[string]any{
		list.Digest.String() + " has more than the limit of 1000 names": named(list.Raw, v1.MediaTypeImageIndex, 5000),
		"": append(named(list.Raw, v1.MediaTypeImageIndex, 900), named(nested, v1.MediaTypeImageIndex, 50)...),
		img.Digest.String() + " has more than the limit of 1000 names": append(named(list.Raw, v1.MediaTypeImageIndex, 900), named(img.Raw, v1.MediaTypeImageManifest, 5000)...),
	} {
		c, err := open(t.Context(), write(t, layoutOf(entries, append(blobsOf(img), list.Raw, nested)...)...))
		if want != "" {
			if err == nil || !strings.HasSuffix(hint.Text(err, hint.Flags), want) {
				t.Errorf("got %v, want …%s", err, want)
			}
			continue
		}
		must(t, err)
		c.tree.Close()
		if len(c.images) != 1 || len(c.lists) != 2 || len(c.images[0].names) != 900 || !slices.Contains(c.images[0].names, "example.com/app:899") {
			t.Errorf("got %d images, %d lists, names %q", len(c.images), len(c.lists), c.images[0].names)
		}
	}
}

// TestTooManySignatures imports many artifacts that repeat the same signatures.
func TestTooManySignatures(t *testing.T) {
	for _, c := range []struct {
		images, artifacts, size int
		want                    string
	}{
		{1, 127, 10, ""},
		{1, 128, 10, "has 128 signatures, the limit is 127"},
		{2, 40, 1 << 20, "its signatures have more than the limit of 67108864 bytes"},
	} {
		sig := bytes.Repeat([]byte("s"), c.size)
		blobs := [][]byte{sig}
		var entries []map[string]any
		for n := range c.images {
			img := images.New(images.Layer(int64(50 + n)))
			blobs = append(blobs, img.Raw)
			entries = append(entries, entry(img.Raw, v1.MediaTypeImageManifest, ""))
			for a := range c.artifacts {
				raw := toJSON(map[string]any{
					"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest, "artifactType": signaturesType,
					"config":      map[string]any{"mediaType": v1.MediaTypeEmptyJSON, "digest": digest.FromString("{}"), "size": 2},
					"subject":     entry(img.Raw, v1.MediaTypeImageManifest, ""),
					"annotations": map[string]string{"number": fmt.Sprint(a)},
					"layers":      []any{entry(sig, signatureType, "")},
				})
				blobs = append(blobs, raw)
				entries = append(entries, entry(raw, v1.MediaTypeImageManifest, ""))
			}
		}
		from, err := open(t.Context(), write(t, layoutOf(entries, blobs...)...))
		switch {
		case c.want != "" && (err == nil || !strings.Contains(hint.Text(err, hint.Flags), c.want)):
			t.Errorf("got %v, want …%s", err, c.want)
		case c.want == "":
			must(t, err)
			from.tree.Close()
			if n := len(from.images[0].signatures); n != c.artifacts {
				t.Errorf("got %d signatures", n)
			}
		}
	}
}
