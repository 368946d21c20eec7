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

// originFile is stored next to image/: where the image was fetched from. It is for people, and for the
// repair of what is damaged; nothing that is published depends on it.
const originFile = "source.json"

// originVersion is the version of the content of that file.
const originVersion = 1

// Origin is a place that an image was fetched from; schemas/source.schema.json describes it.
type Origin struct {
	Name      string        `json:"name"`                       // in full, with the tag it was given with
	Digest    digest.Digest `json:"digest"`                     // that it was fetched by: the manifest's, or that of a list that names it
	Pinned    digest.Digest `json:"pinned,omitempty"`           // that the name is pinned to, of one or the other; "" is not known
	Transport string        `json:"transport,omitempty"`        // "" is docker; else containers-storage or the format of a file or directory
	Storage   string        `json:"storage-location,omitempty"` // of containers-storage; "" is the host's
	From      string        `json:"from,omitempty"`             // the mirror that served it, or the path of that file or directory
	Fetched   time.Time     `json:"fetched,omitzero"`           // UTC, whole seconds; zero: it was stored before
}

// origins is the content of the file.
type origins struct {
	Version int      `json:"version"`
	Sources []Origin `json:"sources"` // sorted
}

// errNewer is the error of a file that a later version of this program wrote.
var errNewer = errors.New("written by a newer version")

// readOrigins reads the origins recorded in a file: none where there is no file, and an error where it cannot
// be read.
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

// mergeOrigins returns the file's content with the fresh origins in it, nil if nothing changes. There is one
// origin for each name and transport: the latest.
func mergeOrigins(in *dir, name string, fresh []Origin) []byte {
	all, err := readOrigins(in, name)
	if errors.Is(err, errNewer) || len(fresh) == 0 {
		return nil
	}
	for _, o := range fresh { // a file that cannot be read begins again
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

// moveOrigins moves the file from the stage to the directory of the image. It must not stay in the stage,
// and a failure to move it does not keep the image from being published.
func (s *stage) moveOrigins(to *dir) error {
	if s.dir.rename(originFile, to, originFile) == nil {
		return nil
	}
	return s.dir.remove(originFile)
}

// AddOrigin records that the image, which is published, is known under another name too. What is
// recorded under that name already stays, but for what the name is pinned to.
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
	if mergeOrigins(pub.containers, pub.beside(originFile), []Origin{o}) == nil { // without the lock, since it is so nearly always
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

// putOrigins records origins of an image that stays as it is. The image is locked.
func putOrigins(in *dir, fresh []Origin) error {
	text := mergeOrigins(in, originFile, fresh)
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
