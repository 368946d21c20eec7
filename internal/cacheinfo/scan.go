// Package cacheinfo inspects a cache: its images by name, their origins, shared blobs, and disk usage.
//
// It takes no lock and writes nothing. It sees the published state: images are complete, by the guarantee of package cache,
// and those removed or replaced in the meantime are skipped or seen as before. Caches filled by osbuild's own sources can be
// read too: they have no pool and no record of origins, so nothing is shared. An image that cannot be read has a Problem,
// but causes no error.
package cacheinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
)

// Image is one image of a cache.
type Image struct {
	ID       digest.Digest
	Manifest digest.Digest // "" if unreadable
	List     digest.Digest // manifest list it was pinned by, if any
	Schema1  digest.Digest // schema 1 manifest it was converted from, if any
	Platform manifest.Platform
	Created  time.Time      // zero if not in the config
	Fetched  time.Time      // latest of Origins, or the time of publication
	Used     time.Time      // last known use, not before Fetched
	Origins  []cache.Origin // empty if not recorded
	Blobs    []Blob         // config and layers, each digest once
	Size     int64          // bytes of all Blobs
	Unshared int64          // bytes of Blobs in no other image
	Problem  string         // why it is unreadable or incomplete; "" if neither

	dir cache.Stored // its directory when it was read
}

// Blob is a blob of an image.
type Blob struct {
	manifest.Descriptor
	Missing bool
	Images  []digest.Digest // images that share this file, sorted, including this one

	File  cache.FileID // zero if Missing
	Links uint64       // hard links of the file, in images and in the pool
}

// Scan reads all images of a cache, sorted by id.
func Scan(c *cache.Cache) ([]*Image, error) {
	images, err := scan(c, (*Image).readImage)
	share(images)
	return images, err
}

// ScanNames reads ids and origins of all images of a cache, sorted by id, and leaves the rest of an Image zero. It takes
// a fraction of the time of Scan.
func ScanNames(c *cache.Cache) ([]*Image, error) {
	return scan(c, func(*Image, *cache.Published) error { return nil })
}

// scan reads of each image its origins, and what more reads.
func scan(c *cache.Cache, more func(*Image, *cache.Published) error) ([]*Image, error) {
	ids, err := c.Images()
	if err != nil {
		return nil, err
	}
	images := make([]*Image, len(ids))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(ids)); n = next.Add(1) - 1 {
				images[n] = read(c, ids[n], more)
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(images, func(i *Image) bool { return i == nil }), nil
}

// Read reads one image, without what it shares with others. It returns nil if the image does not exist.
func Read(c *cache.Cache, id digest.Digest) *Image { return read(c, id, (*Image).readImage) }

// read reads one image. It returns nil if the image no longer exists.
func read(c *cache.Cache, id digest.Digest, more func(*Image, *cache.Published) error) *Image {
	pub, err := c.OpenImage(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	i := &Image{ID: id}
	if err != nil {
		i.Problem = err.Error()
		return i
	}
	defer pub.Close()
	err = panics.Catch(func() error {
		i.readOrigins(pub)
		return more(i, pub)
	})
	if err != nil {
		i.Problem = err.Error()
	}
	return i
}

// readOrigins reads the origins of the image, and when it was fetched and used.
func (i *Image) readOrigins(pub *cache.Published) {
	i.Origins, _ = pub.Origins() // a record that cannot be read counts as missing
	for _, o := range i.Origins {
		if o.Fetched.After(i.Fetched) {
			i.Fetched = o.Fetched
		}
	}
	if i.Fetched.IsZero() {
		if at, err := pub.Created(); err == nil {
			i.Fetched = at.UTC()
		}
	}
	i.dir, _ = pub.Stat()
	if i.Used = pub.Used().UTC(); i.Used.Before(i.Fetched) {
		i.Used = i.Fetched
	}
	if raw, err := pub.List(); err == nil && raw != nil {
		i.List = digest.FromBytes(raw)
	}
	if old, err := pub.Schema1(); err == nil && old != nil {
		i.Schema1, _ = schema1.Digest(old.Manifest) // "" if damaged
	}
}

func (i *Image) readImage(pub *cache.Published) error {
	raw, err := pub.Manifest()
	if err != nil {
		return err
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return err
	}
	if m.List || m.Config.Digest != i.ID {
		return errors.New("its manifest is not of this image")
	}
	i.Manifest = digest.FromBytes(raw)
	missing := 0
	for _, d := range m.Blobs() {
		b := Blob{Descriptor: d}
		s, err := pub.Stored(d.Digest)
		if b.Missing = err != nil || s.Size != d.Size; b.Missing {
			missing++
		} else {
			b.File, b.Links = s.FileID, s.Links
			i.Size += d.Size
		}
		i.Blobs = append(i.Blobs, b)
	}
	config, err := readConfig(pub, m.Config)
	if err == nil {
		i.Platform, i.Created = config.Normalize(), config.Created.UTC()
	}
	switch {
	case missing > 0:
		return fmt.Errorf("%d of its %d blobs are missing", missing, len(i.Blobs))
	case err != nil:
		return err
	case !pub.Has(m.Blobs()):
		return errors.New("its file version is missing")
	}
	return nil
}

// share determines which images share blobs, that is, files on disk.
func share(images []*Image) {
	owners := map[cache.FileID][]digest.Digest{}
	for _, i := range images {
		for _, b := range i.Blobs {
			if !b.Missing {
				owners[b.File] = append(owners[b.File], i.ID)
			}
		}
	}
	for _, i := range images {
		for n := range i.Blobs {
			b := &i.Blobs[n]
			if b.Missing {
				continue
			}
			if b.Images = owners[b.File]; len(b.Images) == 1 {
				i.Unshared += b.Size
			}
		}
	}
}

// Recorded returns the image with the origins, times and manifest list that pub records now, but without manifest and
// blobs. It may have been replaced since i was read.
func (i *Image) Recorded(pub *cache.Published) *Image {
	now := &Image{ID: i.ID, Platform: i.Platform}
	now.readOrigins(pub)
	return now
}

// IsSame reports whether pub is the image that was read and was not published again.
func (i *Image) IsSame(pub *cache.Published) bool {
	dir, err := pub.Stat()
	return err == nil && dir.Ino == i.dir.Ino && dir.Changed.Equal(i.dir.Changed)
}
