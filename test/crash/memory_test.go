package crash_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
)

// peak runs a source, which must succeed, and returns its peak memory in bytes.
func peak(t *testing.T, source string, req object) int64 {
	t.Helper()
	r := prepare(t, source, req)
	exe, err := os.Executable()
	must(t, err)
	result := filepath.Join(t.TempDir(), "peak")
	r.cmd.Env = append(r.cmd.Env, measureVariable+"="+result)
	r.cmd.Args = append([]string{exe}, r.cmd.Path)
	r.cmd.Path = exe
	began := time.Now()
	must(t, r.cmd.Start())
	r.good()
	raw, err := os.ReadFile(result)
	must(t, err)
	kb, err := strconv.ParseInt(string(raw), 10, 64)
	must(t, err)
	t.Logf("%.1f MiB in %v", float64(kb)/1024, time.Since(began).Round(time.Millisecond))
	return kb << 10
}

func TestMemoryOfALargeImage(t *testing.T) {
	const size = 300 << 20
	img := images.New(images.LayerAs(images.Plain, size/2), images.LayerAs(images.Plain, size/4), images.LayerAs(images.Plain, size/8), images.LayerAs(images.Plain, size/8))
	_, name := serve(t, img)
	cache := newCache(t)
	if got := peak(t, skopeo, request(cache, name, img)); got > 40<<20 {
		t.Errorf("%d bytes, the limit is 40 MiB", got)
	}
	wantAll(t, cache, img)
}

// A request for a large number of cached items.
func TestMemoryOfManyItems(t *testing.T) {
	const count = 20_000
	cache := newCache(t)
	if os.Geteuid() == 0 { // creating them takes long on a busy disk
		mount(t, "tmpfs", cache, "tmpfs", 0, "")
	}
	items := object{}
	blob := []byte("a layer")
	must(t, os.MkdirAll(cache, 0o755))
	layer, version := filepath.Join(cache, "layer"), filepath.Join(cache, "version")
	must(t, os.WriteFile(layer, blob, 0o644))
	must(t, os.WriteFile(version, []byte("Directory Transport Version: 1.1\n"), 0o644))
	for i := range count {
		config, err := json.Marshal(object{"os": "linux", "rootfs": object{"type": "layers", "diff_ids": []any{}}, "n": i})
		must(t, err)
		id := digest.FromBytes(config)
		manifest, err := json.Marshal(object{
			"schemaVersion": 2, "mediaType": images.OCIManifest,
			"config": object{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": len(config)},
			"layers": []object{{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.FromBytes(blob), "size": len(blob)}},
		})
		must(t, err)
		dir := filepath.Join(cache, containers, id.String(), "image")
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Link(layer, filepath.Join(dir, digest.FromBytes(blob).Encoded())))
		must(t, os.Link(version, filepath.Join(dir, "version")))
		must(t, os.WriteFile(filepath.Join(dir, id.Encoded()), config, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644))
		items[id.String()] = object{"image": object{"name": "localhost:1/name", "digest": digest.FromBytes(manifest)}}
	}
	if got := peak(t, skopeo, object{"items": items, "cache": cache}); got > 100<<20 {
		t.Errorf("%d bytes, the limit is 100 MiB", got)
	}
}
