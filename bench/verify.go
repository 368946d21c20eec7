package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
)

// The cache to verify: images of one layer each, which is also in the pool, and the size of a layer in bytes.
const (
	verifyImages = 16
	verifyLayer  = 125_000_000
)

// verify measures verifying a cache of 2 GB. The peers, sha256sum and openssl, only read it, with one process per
// processor.
func (b *bench) verify() error {
	ours, err := b.ourTool()
	if err != nil {
		return err
	}
	if err := b.clear(); err != nil {
		return err
	}
	for n := range verifyImages {
		if err := layered(filepath.Join(b.scratch(), "cache", "org.osbuild.containers"), uint64(n)); err != nil {
			return err
		}
	}
	blobs := "ls -S cache/org.osbuild.containers/.pool/blobs/sha256/* | xargs -n 1 -P " + fmt.Sprint(runtime.NumCPU())
	return b.compare("verify 2 GB of cache", installed([]tool{
		{name: "**ours**", keep: true, line: ours + " verify --cache cache"},
		{name: "sha256sum, xargs -P", keep: true, line: blobs + " sha256sum"},
		{name: "openssl sha256, xargs -P", keep: true, line: blobs + " openssl dgst -sha256"},
	}, map[string][]string{"openssl sha256, xargs -P": {"openssl"}}))
}

// layered publishes an image with one large layer, and adds its blobs to the pool.
func layered(dir string, seed uint64) error {
	pool := filepath.Join(dir, ".pool", "blobs", "sha256")
	if err := os.MkdirAll(pool, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(pool, "new"))
	if err != nil {
		return err
	}
	defer f.Close()
	h := digest.SHA256.Hash()
	random := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
	if _, err := io.CopyN(io.MultiWriter(f, h), random, verifyLayer); err != nil {
		return err
	}
	layer := digest.NewDigest(digest.SHA256, h)
	if err := os.Rename(f.Name(), filepath.Join(pool, layer.Encoded())); err != nil {
		return err
	}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Labels":{"n":"%d"}}}`, seed)
	id := digest.FromString(config)
	manifest := encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": len(config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": verifyLayer}},
	})
	image := filepath.Join(dir, id.String(), "image")
	if err := os.MkdirAll(image, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"version": "Directory Transport Version: 1.1\n", "manifest.json": manifest, id.Encoded(): config,
	} {
		if err := os.WriteFile(filepath.Join(image, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.Link(filepath.Join(pool, layer.Encoded()), filepath.Join(image, layer.Encoded()))
}
