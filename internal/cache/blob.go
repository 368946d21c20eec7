package cache

import (
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
)

// OpenBlob opens a blob of the given size in the pool or, failing that, in the image published under id. The error is
// fs.ErrNotExist if neither has it. The blob was verified when it was stored; a caller that must detect later damage
// verifies it again.
func (c *Cache) OpenBlob(id, blob digest.Digest, size int64) (*os.File, error) {
	for _, open := range []func() (*os.File, error){
		func() (*os.File, error) { return c.OpenPooled(blob) },
		func() (*os.File, error) { return c.OpenImageBlob(id, blob) },
	} {
		f, err := open()
		if err != nil {
			continue
		}
		if fi, err := f.Stat(); err == nil && fi.Size() == size {
			return f, nil
		}
		f.Close()
	}
	return nil, fs.ErrNotExist
}

// OpenPooled opens a blob of the pool.
func (c *Cache) OpenPooled(blob digest.Digest) (*os.File, error) {
	pool, err := c.openPool("blobs", "sha256")
	if err != nil {
		return nil, err
	}
	defer pool.close()
	return pool.openFile(blob.Encoded())
}

// OpenImageBlob opens a blob of the image that is published under id.
func (c *Cache) OpenImageBlob(id, blob digest.Digest) (*os.File, error) {
	pub, err := c.OpenImage(id)
	if err != nil {
		return nil, err
	}
	defer pub.Close()
	return pub.OpenBlob(blob)
}

// OpenFile opens the manifest list published under d.
func (c *Cache) OpenFile(d digest.Digest) (*os.File, error) {
	files, err := c.openTop(filesDir)
	if err != nil {
		return nil, err
	}
	return files.openFile(d.String())
}

// openPool opens a directory of the pool.
func (c *Cache) openPool(names ...string) (*dir, error) {
	containers, err := c.openTop(containersDir)
	if err != nil {
		return nil, err
	}
	return containers.openIn(append([]string{poolDir}, names...)...)
}
