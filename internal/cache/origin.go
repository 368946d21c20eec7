package cache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// originFile records where the image was fetched from, next to image/. It is informational, and used to repair
// damage; published images do not depend on it.
const originFile = "source.json"

// originVersion is the version of the format of originFile.
const originVersion = 1

// Origin is a source that an image was fetched from; schemas/source.schema.json describes it.
type Origin struct {
	Name      string        `json:"name"`                       // in full, with its original tag
	Digest    digest.Digest `json:"digest"`                     // by which it was fetched: of the manifest, or of a list that contains it
	Pinned    digest.Digest `json:"pinned,omitempty"`           // to which the name is pinned, one of the two; "" if unknown
	Transport string        `json:"transport,omitempty"`        // "" for docker; otherwise containers-storage, the format of a file or directory, or Tagged
	Storage   string        `json:"storage-location,omitempty"` // of containers-storage; "" for the host's
	From      string        `json:"from,omitempty"`             // the mirror that served it, or the path of the file or directory
	Fetched   time.Time     `json:"fetched,omitzero"`           // in UTC, whole seconds; zero if the image was in the cache before
}

// Tagged is the Transport of a name that a user gave to a cached image: nothing can be fetched from there.
const Tagged = "tag"

// origins is the content of originFile.
type origins struct {
	Version int      `json:"version"`
	Sources []Origin `json:"sources"` // sorted
}

// errNewer is the error for a file written by a later version of this program.
var errNewer = errors.New("written by a newer version")

// readOrigins reads the origins recorded in a file. It returns none if the file does not exist.
func readOrigins(in *dir, name string) ([]Origin, error) {
	raw, err := in.read(name)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read where it is from: %w", err)
	}
	var o origins
	err = json.Unmarshal(raw, &o)
	if o.Version > originVersion { // it may not fit the type
		err = errNewer
	}
	if err != nil {
		return nil, fmt.Errorf("read where it is from: %s: %w", originFile, err)
	}
	return o.Sources, nil
}

// mergeOrigins returns the content of the file with fresh origins added, nil if nothing changes. For each name and
// transport it keeps the latest origin.
func mergeOrigins(in *dir, name string, fresh []Origin) []byte {
	all, err := readOrigins(in, name)
	if errors.Is(err, errNewer) || len(fresh) == 0 {
		return nil
	}
	for _, o := range fresh { // an unreadable file is replaced
		o.Fetched = o.Fetched.UTC().Truncate(time.Second)
		i := slices.IndexFunc(all, o.isSame)
		if i < 0 {
			all = append(all, o)
			continue
		}
		pinned := cmp.Or(o.Pinned, all[i].Pinned)
		if !o.Fetched.IsZero() {
			all[i] = o
		}
		all[i].Pinned = pinned
	}
	return encodeOrigins(in, name, all)
}

// encodeOrigins returns the file's content with these origins, nil if it has that content.
func encodeOrigins(in *dir, name string, all []Origin) []byte {
	slices.SortFunc(all, func(a, b Origin) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Transport, b.Transport), strings.Compare(a.Storage, b.Storage))
	})
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if enc.Encode(origins{originVersion, all}) != nil {
		return nil
	}
	if old, err := in.read(name); err == nil && bytes.Equal(old, text.Bytes()) {
		return nil
	}
	return text.Bytes()
}

func (o Origin) isSame(other Origin) bool {
	return o.Name == other.Name && o.Transport == other.Transport && o.Storage == other.Storage
}

// moveOrigins moves the file from the stage to the directory of the image. It must not stay in the stage. A failure
// to move it does not prevent publication.
func (s *stage) moveOrigins(to *dir) error {
	if s.dir.rename(originFile, to, originFile) == nil {
		return nil
	}
	return s.dir.remove(originFile)
}

// AddOrigin records another origin of a published image. An existing record for the same name is kept, except that
// the digest it is pinned to is updated.
func (c *Cache) AddOrigin(ctx context.Context, id digest.Digest, o Origin) error {
	if err := c.addOrigin(ctx, id, o); err != nil {
		return fmt.Errorf("record the name of image %s: %w", id, err)
	}
	return nil
}

func (c *Cache) addOrigin(ctx context.Context, id digest.Digest, o Origin) error {
	pub, err := c.OpenImage(id)
	if err != nil {
		return err
	}
	defer pub.Close()
	o.Fetched = time.Time{}
	if mergeOrigins(pub.containers, pub.beside(originFile), []Origin{o}) == nil { // unlocked, because there is rarely anything to add
		if _, err := readOrigins(pub.containers, pub.beside(originFile)); o.Transport == Tagged && err != nil {
			return err // the record is all that there is of such a name
		}
		return nil
	}
	unlock, err := c.lockImage(ctx, id, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	parent, err := c.openImageDir(id)
	if err != nil {
		return err
	}
	defer parent.close()
	if err := putOrigins(parent, []Origin{o}); err != nil {
		return err
	}
	return parent.sync()
}

// RemoveOrigins removes the origins of a published image for which drop returns true, and reports whether there were
// any. The image stays, even without a name.
func (c *Cache) RemoveOrigins(ctx context.Context, id digest.Digest, drop func(Origin) bool) (bool, error) {
	removed, err := c.removeOrigins(ctx, id, drop)
	if err != nil {
		return false, fmt.Errorf("remove a name of image %s: %w", id, err)
	}
	return removed, nil
}

func (c *Cache) removeOrigins(ctx context.Context, id digest.Digest, drop func(Origin) bool) (bool, error) {
	unlock, err := c.lockImage(ctx, id, unix.LOCK_EX)
	if err != nil {
		return false, err
	}
	defer unlock()
	parent, err := c.openImageDir(id)
	if err != nil {
		return false, err
	}
	defer parent.close()
	all, err := readOrigins(parent, originFile)
	if err != nil {
		return false, err
	}
	left := slices.DeleteFunc(slices.Clone(all), drop)
	if len(left) == len(all) {
		return false, nil
	}
	if err := replaceOrigins(parent, encodeOrigins(parent, originFile, left)); err != nil {
		return false, err
	}
	return true, parent.sync()
}

// putOrigins adds origins to an image that is not otherwise changed. The caller holds its lock.
func putOrigins(in *dir, fresh []Origin) error {
	return replaceOrigins(in, mergeOrigins(in, originFile, fresh))
}

// replaceOrigins gives the file another content, unless that is nil. The caller holds the lock.
func replaceOrigins(in *dir, text []byte) error {
	if text == nil {
		return nil
	}
	s, err := newStage(in, stagePrefix)
	if err != nil {
		return err
	}
	defer s.remove()
	if err := writeFile(s.dir, originFile, text); err != nil {
		return err
	}
	return s.dir.rename(originFile, in, originFile)
}
