package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// pinned is an image to fetch.
type pinned struct {
	Ref    string   `json:"ref"` // registry/repository
	Digest string   `json:"digest"`
	ID     string   `json:"id"`
	Layers []string `json:"layers"`
	Bytes  int64    `json:"bytes"` // all layers
}

func (p pinned) at() string { return p.Ref + "@" + p.Digest }

// Sizes in bytes of the layers of a development image, and of what applications add to its first three: those of real
// Debian packages.
var (
	bigLayers = []int64{48_683_140, 62_962_031, 125_997_228, 38_428_910, 161_800_000, 76_500_000, 700_000, 9_300_000}
	appLayers = []int64{666_084, 2_998_194, 3_645_943, 758_235, 3_977_732, 9_757_046, 5_556_851, 1_286_296}
)

// findImages reads the list of images, or makes images of the same shape and serves them.
func (b *bench) findImages(list string) (stop func(), err error) {
	if list != "" {
		raw, err := os.ReadFile(list)
		if err != nil {
			return nil, err
		}
		return func() {}, json.Unmarshal(raw, &b.images)
	}
	reg, err := registry.Run(filepath.Join(b.dir, "registry"))
	if err != nil {
		return nil, err
	}
	stop = func() { _ = reg.Close() }
	if err := b.make(reg.URL); err != nil {
		stop()
		return nil, fmt.Errorf("make images: %w", err)
	}
	return stop, nil
}

func (b *bench) make(base string) error {
	var layers []images.Option
	for _, size := range bigLayers {
		layers = append(layers, images.Layer(size))
	}
	big := images.New(layers...)
	if err := b.push(base, "big", big); err != nil {
		return err
	}
	shared := big.Layers[:3]
	for i, size := range appLayers {
		app := images.New(images.Use(shared...), images.Seed(uint64(i+1)), images.Layer(size))
		if err := b.push(base, fmt.Sprintf("app%d", i+1), app); err != nil {
			return err
		}
	}
	return b.push(base, "many", images.New(images.Seed(100), images.Layers(100, 15_000)))
}

func (b *bench) push(base, name string, img *images.Image) error {
	if err := images.Push(img, base, "bench/"+name+":latest"); err != nil {
		return err
	}
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	p := pinned{Ref: u.Host + "/bench/" + name, Digest: img.Digest.String(), ID: img.ID.String(), Bytes: img.Size()}
	for _, l := range img.Layers {
		p.Layers = append(p.Layers, l.Digest.String())
	}
	b.images[name] = p
	return nil
}

func (b *bench) apps() []string {
	names := make([]string, len(appLayers))
	for i := range names {
		names[i] = fmt.Sprintf("app%d", i+1)
	}
	return names
}

// request returns a request for our source.
func (b *bench) request(cache string, names ...string) string {
	items := map[string]any{}
	for _, n := range names {
		p := b.images[n]
		items[p.ID] = map[string]any{"image": map[string]any{"name": p.Ref, "digest": p.Digest, "tls-verify": false}}
	}
	return encode(map[string]any{"items": items, "cache": cache})
}

// fill publishes n small images in a cache, as the source would, and returns the request for them.
func fill(cache string, n int) (string, error) {
	items := map[string]any{}
	layer := []byte("layer")
	for i := range n {
		config := []byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Labels":{"n":"%d"}}}`, i))
		id := digest.FromBytes(config)
		blobs := []map[string]any{}
		for range 3 {
			blobs = append(blobs, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.FromBytes(layer), "size": len(layer)})
		}
		manifest := encode(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": blobs,
			"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": len(config)},
		})
		items[id.String()] = map[string]any{"image": map[string]any{"name": "registry.invalid/none", "digest": digest.FromString(manifest)}}
		dir := filepath.Join(cache, "org.osbuild.containers", id.String(), "image")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		for name, content := range map[string]string{
			"version": "Directory Transport Version: 1.1\n", "manifest.json": manifest,
			id.Encoded(): string(config), digest.FromBytes(layer).Encoded(): string(layer),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				return "", err
			}
		}
	}
	return encode(map[string]any{"items": items, "cache": cache}), nil
}

func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return string(raw)
}
