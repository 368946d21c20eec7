package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/layer"
)

// ownBytes is the uncompressed size of the images that are made of files of this machine.
const ownBytes = 1 << 30

// skewedShares are the shares of the layers of an image, in percent, of which one is nearly half.
var skewedShares = []int64{4, 44, 15, 12, 10, 8, 5, 2}

// skewed measures an image with one layer of nearly half its size, compared with only reading that layer: more processors
// cannot make it faster than that. The other image it measures has 16 equal layers.
func (b *bench) skewed() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = b.own("an image with one large layer", skewedShares, func(largest string) []tool {
		return []tool{{name: "reading the largest layer", line: self + " -read " + largest}}
	})
	if err != nil {
		return err
	}
	return b.own("an image of 16 equal layers", slices.Repeat([]int64{6}, 16), func(string) []tool { return nil })
}

// own measures an image made of files of this machine, compared with what others returns for the path of its largest layer.
func (b *bench) own(title string, shares []int64, others func(largest string) []tool) error {
	image, largest, err := b.makeOwn(filepath.Join(b.dir, "own"), shares)
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(image))
	ours := b.stage("org.osbuild.container-deploy", map[string]any{"inputs": map[string]any{"images": map[string]any{
		"path": filepath.Dir(image),
		"data": map[string]any{"archives": map[string]any{filepath.Base(image): map[string]any{"format": "dir", "name": "localhost/own"}}},
	}}})
	ours.prepare = func() error { return os.Mkdir(filepath.Join(b.scratch(), "tree"), 0o755) }
	return b.compare("container-deploy: "+title, append([]tool{ours, oneCore(ours)}, others(largest)...))
}

// oneCore returns one of our stages with a single processor.
func oneCore(t tool) tool {
	t.name, t.line = "**ours**, GOMAXPROCS=1", "GOMAXPROCS=1 "+t.line
	return t
}

// readLayer decompresses a layer and computes both digests.
func readLayer(ctx context.Context, path string) error {
	d := digest.FromString("") // any digest, so that both are computed; Rewritten ignores the mismatch
	s := layer.Start(ctx, layer.Blob{
		Digest: d, DiffID: d, Size: -1, Rewritten: func() bool { return true },
		Open: func() (io.ReadCloser, error) { return os.Open(path) },
	}, layer.NewBudget(32<<20), layer.NewTally(layer.Limits{}))
	defer s.Close()
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, make([]byte, 256<<10))
	return err
}

// makeOwn makes an image in the format dir below dir, with layers of the given shares in percent. It returns the paths of
// the image and of its largest layer.
func (b *bench) makeOwn(dir string, shares []int64) (image, largest string, err error) {
	files, err := ownFiles("/usr", ownBytes)
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", err
	}
	made := make([]gzipped, len(shares))
	errs := make([]error, len(shares))
	var wg sync.WaitGroup
	for i, share := range shares {
		var mine []string
		var size int64
		for len(files) > 0 && (size < ownBytes/100*share || i == len(shares)-1) {
			info, err := os.Lstat(files[0])
			if err != nil {
				return "", "", err
			}
			mine, files, size = append(mine, files[0]), files[1:], size+info.Size()
		}
		wg.Go(func() { made[i], errs[i] = pack(filepath.Join(dir, fmt.Sprint("layer", i)), mine) })
	}
	wg.Wait()
	var layers []map[string]any
	var diffIDs []digest.Digest
	for i, g := range made {
		if errs[i] != nil {
			return "", "", errs[i]
		}
		layers = append(layers, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": g.digest, "size": g.size})
		diffIDs = append(diffIDs, g.diffID)
	}
	config := encode(map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	id := digest.FromString(config)
	image = filepath.Join(dir, id.String())
	if err := os.MkdirAll(image, 0o755); err != nil {
		return "", "", err
	}
	for i, g := range made {
		place := filepath.Join(image, g.digest.Encoded())
		if err := os.Rename(filepath.Join(dir, fmt.Sprint("layer", i)), place); err != nil {
			return "", "", err
		}
		if shares[i] == slices.Max(shares) {
			largest = place
		}
	}
	manifest := encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": len(config)},
	})
	for name, text := range map[string]string{"version": "Directory Transport Version: 1.1\n", "manifest.json": manifest, id.Encoded(): config} {
		if err := os.WriteFile(filepath.Join(image, name), []byte(text), 0o644); err != nil {
			return "", "", err
		}
	}
	return image, largest, nil
}

// ownFiles returns regular files of the machine up to limit bytes.
func ownFiles(top string, limit int64) ([]string, error) {
	var files []string
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files = append(files, path)
		if limit -= info.Size(); limit < 0 {
			return fs.SkipAll
		}
		return nil
	})
	return files, err
}

// gzipped is a compressed layer.
type gzipped struct {
	digest, diffID digest.Digest
	size           int64
}

// pack writes files as a layer.
func pack(path string, files []string) (g gzipped, err error) {
	f, err := os.Create(path)
	if err != nil {
		return g, err
	}
	defer f.Close()
	blob, archive := digest.SHA256.Digester(), digest.SHA256.Digester()
	z := gzip.NewWriter(io.MultiWriter(f, blob.Hash()))
	w := tar.NewWriter(io.MultiWriter(z, archive.Hash()))
	for _, name := range files {
		if err := pack1(w, name); err != nil {
			return g, err
		}
	}
	if err := w.Close(); err != nil {
		return g, err
	}
	if err := z.Close(); err != nil {
		return g, err
	}
	g.size, err = f.Seek(0, io.SeekCurrent)
	g.digest, g.diffID = blob.Digest(), archive.Digest()
	return g, err
}

func pack1(w *tar.Writer, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(w, in, info.Size())
	return err
}
