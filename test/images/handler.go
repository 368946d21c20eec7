package images

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Handler answers as a registry that holds this one image in every repository,
// and under every tag: the way to serve what a registry would not store.
func (img *Image) Handler() http.Handler {
	blobs := map[string][]byte{}
	if img.Config != nil {
		blobs[img.ID.String()] = img.Config
	}
	for _, l := range img.Layers {
		blobs[l.Digest.String()] = l.Blob
	}
	return serve(img.MediaType, img.Raw, img.Digest, blobs)
}

// Handler answers as a registry that holds this list, without what it names.
func (l *List) Handler() http.Handler { return serve(l.MediaType, l.Raw, l.Digest, nil) }

func serve(mediaType string, raw []byte, d digest.Digest, blobs map[string][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dir, ref := split(r.URL.Path)
		data, contentType := blobs[ref], "application/octet-stream"
		switch {
		case r.URL.Path == "/v2/":
			return
		case strings.HasSuffix(dir, "/manifests") && (ref == d.String() || !strings.Contains(ref, ":")):
			data, contentType, ref = raw, mediaType, d.String()
		case !strings.HasSuffix(dir, "/blobs") || data == nil:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Docker-Content-Digest", ref)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

func split(path string) (dir, last string) {
	at := strings.LastIndex(path, "/")
	return path[:at], path[at+1:]
}
