package cacheinfo

import (
	"cmp"
	"slices"
	"strings"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
)

// Usage is what a cache takes on disk, in bytes of content; what a file system adds to that, or
// saves by sharing blocks between copies (reflinks), is not counted.
type Usage struct {
	Images  []*Image       // what adds most first
	Size    int64          // of all images, each by itself
	Disk    int64          // of all images together: shared blobs count once
	Twice   int64          // of Disk: blobs that are stored more than once
	Unused  []cache.Stored // blobs of the pool that no image has
	Partial []cache.Stored // of blobs that are being downloaded, or whose download was interrupted
}

// Saved is what sharing saves.
func (u *Usage) Saved() int64 { return u.Size - u.Disk }

// Total is what all takes.
func (u *Usage) Total() int64 {
	return manifest.AddSizes(u.Disk, manifest.AddSizes(Bytes(u.Unused), Bytes(u.Partial)))
}

// Bytes is how many bytes the blobs have.
func Bytes(blobs []cache.Stored) (n int64) {
	for _, b := range blobs {
		n = manifest.AddSizes(n, b.Size)
	}
	return n
}

// Measure finds out what a cache takes.
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
