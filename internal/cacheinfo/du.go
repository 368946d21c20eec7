package cacheinfo

import (
	"cmp"
	"slices"
	"strings"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
)

// Usage is the disk usage of a cache, in bytes of content. It does not count overhead of the file system, nor savings by
// reflinks.
type Usage struct {
	Images  []*Image       // largest Unshared first
	Size    int64          // sum of the images' sizes
	Disk    int64          // bytes on disk: shared blobs count once
	Twice   int64          // part of Disk taken by blobs stored more than once
	Unused  []cache.Stored // pooled blobs of no image
	Partial []cache.Stored // partial blobs of running or interrupted downloads
}

// Saved returns the bytes saved by sharing.
func (u *Usage) Saved() int64 { return u.Size - u.Disk }

// Total returns the disk usage of the cache, in bytes.
func (u *Usage) Total() int64 {
	return manifest.AddSizes(u.Disk, manifest.AddSizes(Bytes(u.Unused), Bytes(u.Partial)))
}

// Bytes returns the total size of blobs.
func Bytes(blobs []cache.Stored) (n int64) {
	for _, b := range blobs {
		n = manifest.AddSizes(n, b.Size)
	}
	return n
}

// Measure determines the disk usage of a cache.
func Measure(c *cache.Cache) (*Usage, error) {
	images, err := Scan(c)
	if err != nil {
		return nil, err
	}
	u := &Usage{Images: images}
	if u.Partial, err = c.Partial(); err != nil {
		return nil, err
	}
	pooled, err := c.Pooled()
	if err != nil {
		return nil, err
	}
	used := map[cache.FileID]bool{}
	digests := map[string]bool{}
	for _, i := range images {
		u.Size = manifest.AddSizes(u.Size, i.Size)
		for _, b := range i.Blobs {
			if b.Missing || used[b.File] {
				continue
			}
			used[b.File] = true
			u.Disk = manifest.AddSizes(u.Disk, b.Size)
			if digests[b.Digest.String()] {
				u.Twice = manifest.AddSizes(u.Twice, b.Size)
			}
			digests[b.Digest.String()] = true
		}
	}
	u.Unused = slices.DeleteFunc(pooled, func(s cache.Stored) bool { return used[s.FileID] })
	slices.SortStableFunc(u.Images, func(a, b *Image) int {
		return cmp.Or(cmp.Compare(b.Unshared, a.Unshared), cmp.Compare(b.Size, a.Size), strings.Compare(string(a.ID), string(b.ID)))
	})
	return u, nil
}
