package storage

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// normalize replaces what the store wrote at random, or with the time of day, by values derived from the layers: the
// short names by which overlay layers refer to each other, the times at which layers were added, the last owners in lock
// files, and the times of files and directories outside of the layers. It changes only what is new, and needs the store
// closed.
func (w *writer) normalize() error {
	if err := w.normalizeRecords(); err != nil {
		return fmt.Errorf("containers storage %s: %w", w.opt.Root, err)
	}
	if w.opt.Driver == "overlay" {
		if err := w.normalizeLinks(); err != nil {
			return fmt.Errorf("containers storage %s: %w", w.opt.Root, err)
		}
	}
	for _, pattern := range []string{"*.lock", "*/*.lock"} {
		locks, _ := filepath.Glob(filepath.Join(escape(w.opt.Root), pattern))
		for _, lock := range locks {
			if err := os.Truncate(lock, 0); err != nil {
				return err
			}
		}
	}
	if w.opt.Epoch == nil {
		return nil
	}
	return w.normalizeTimes()
}

// escape quotes a path for Glob.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// normalizeRecords sets the times of new layers, and their compressed sizes and types, which the store does not record for
// layers unpacked outside of it.
func (w *writer) normalizeRecords() error {
	path := filepath.Join(w.opt.Root, w.opt.Driver+"-layers", "layers.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // images without layers
	}
	if err != nil {
		return err
	}
	var layers []storage.Layer
	if err := json.Unmarshal(raw, &layers); err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		c := w.added[l.ID]
		if c == nil {
			continue
		}
		if w.opt.Epoch != nil {
			l.Created = w.time()
		}
		l.CompressedSize, l.CompressionType = c.blob.Size, c.compression
	}
	if raw, err = json.Marshal(layers); err != nil {
		return err
	}
	return replace(path, raw)
}

// replace replaces the file atomically.
func replace(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// linkOf returns the short name of a layer, with the length and alphabet of the store's own.
func linkOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base32.StdEncoding.EncodeToString(sum[:])[:26]
}

func (w *writer) normalizeLinks() error {
	home := filepath.Join(w.opt.Root, "overlay")
	names := map[string]string{}
	for id := range w.added {
		file := filepath.Join(home, id, "link")
		old, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		link := linkOf(id)
		if err := os.Rename(filepath.Join(home, "l", string(old)), filepath.Join(home, "l", link)); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(link), 0o644); err != nil {
			return err
		}
		names["l/"+string(old)] = "l/" + link
	}
	for id := range w.added {
		file := filepath.Join(home, id, "lower")
		lower, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // lowest layer
		}
		if err != nil {
			return err
		}
		parts := strings.Split(string(lower), ":")
		for i, p := range parts {
			if link, ok := names[p]; ok {
				parts[i] = link
			}
		}
		if err := os.WriteFile(file, []byte(strings.Join(parts, ":")), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// normalizeTimes sets the time of what was written since the writer began. Files of layers have times of their own,
// except, with vfs, directories that the layer does not list.
func (w *writer) normalizeTimes() error {
	skip := func(path string) bool {
		rel, err := filepath.Rel(filepath.Join(w.opt.Root, "overlay"), path)
		parts := strings.Split(rel, string(filepath.Separator))
		return err == nil && len(parts) == 2 && parts[1] == "diff"
	}
	var dirs []string
	err := filepath.WalkDir(w.opt.Root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skip(path):
			return filepath.SkipDir
		case d.IsDir():
			dirs = append(dirs, path)
			return nil
		}
		return w.clamp(path)
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, w.clamp(dir))
	}
	return err
}

// clamp sets the time of files changed between the beginning and now. Times in the future, from a layer, stay.
func (w *writer) clamp(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.ModTime().Before(w.began) || info.ModTime().After(time.Now()) {
		return err
	}
	return setTime(path, w.time())
}

func setTime(path string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time of %s: %w", path, err)
	}
	return nil
}
