package inject

import (
	"bytes"
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/tailscale/hujson"

	"osbuild-containers/internal/pin"
)

// TestManifestsOfOthers goes through a directory of manifests, such as those that osbuild/images and
// osbuild keep or generate for their tests, which MANIFESTS names. With pins that say what they have,
// nothing changes; with pins that have all moved, nothing but them does; and back again, each file
// is what it was, byte for byte. What has no name that an image can have, such as flatpaks that are
// fetched as images, is left.
func TestManifestsOfOthers(t *testing.T) {
	dir := os.Getenv("MANIFESTS")
	if dir == "" {
		t.Skip("no manifests: set MANIFESTS to a directory with osbuild manifests")
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", os.DevNull)
	var files, old, with, images, lists, others int
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := Apply(raw, options(nil)); err != nil && (strings.Contains(err.Error(), "version 1") || strings.Contains(err.Error(), "not an osbuild manifest")) {
			old++
			return nil
		}
		files++
		now, left := pinsOf(t, path, raw)
		others += left
		if len(now) > 0 {
			with++
		}
		images += len(now)
		for _, p := range now {
			if p.List != "" {
				lists++
			}
		}
		thereAndBack(t, path, raw, now, left)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatalf("no manifest of version 2 in %s", dir)
	}
	t.Logf("%d manifests, %d with containers: %d images, %d of them with a list, and %d that have no name of an image; %d files are no manifests of version 2",
		files, with, images, lists, others, old)
}

func thereAndBack(t *testing.T, path string, raw []byte, now []pin.Image, left int) {
	t.Helper()
	apply := func(what string, raw []byte, pins []pin.Image) []byte {
		t.Helper()
		result, err := Apply(raw, options(pins))
		if err != nil {
			t.Errorf("%s: %s: %v", path, what, err)
			return raw
		}
		if len(result.Left) != left && len(pins) > 0 {
			t.Errorf("%s: %s: %d are left, want %d: %v", path, what, len(result.Left), left, result.Left)
		}
		return result.Data
	}
	if !bytes.Equal(apply("no pins", raw, nil), raw) || !bytes.Equal(apply("as it is", raw, now), raw) {
		t.Errorf("%s: pins that are there already change it", path)
	}
	moved := make([]pin.Image, len(now))
	for n, p := range now {
		p.ID, p.Manifest = digest.FromString("new "+p.ID.String()), digest.FromString("new "+p.Manifest.String())
		if p.List != "" {
			p.List = digest.FromString("new " + p.List.String())
		}
		moved[n] = p
	}
	there := apply("moved", raw, moved)
	inside := manifestOnly(t, there)
	for n := range now {
		for _, d := range []digest.Digest{now[n].ID, now[n].Manifest, now[n].List} {
			if d != "" && bytes.Contains(inside, []byte(d)) {
				t.Errorf("%s: %s of %s is still there", path, d, now[n].Reference)
			}
		}
		for _, d := range []digest.Digest{moved[n].ID, moved[n].Manifest, moved[n].List} {
			if d == moved[n].Manifest && now[n].Transport != "" {
				continue // an item of the host's storage has no digest
			}
			if !bytes.Contains(inside, []byte(d)) {
				t.Errorf("%s: %s of %s is missing", path, d, now[n].Reference)
			}
		}
	}
	if len(there) != len(raw) {
		t.Errorf("%s: moved pins change its length", path)
	}
	if !bytes.Equal(apply("back", there, now), raw) {
		t.Errorf("%s: there and back again, it is another", path)
	}
}

// manifestOnly is the manifest, of a document that has more.
func manifestOnly(t *testing.T, raw []byte) []byte {
	t.Helper()
	d, err := parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return hujson.Value{Value: d.root}.Pack()
}

// pinsOf are pins that say what a manifest has: of registries, what its items say; of the host's
// storage, names and ids. left are those that no pin can mean.
func pinsOf(t *testing.T, path string, raw []byte) (pins []pin.Image, left int) {
	t.Helper()
	d, err := parse(raw)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	m, err := readModel(d)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	seen := map[string]bool{}
	for _, r := range m.references() {
		p := pin.Image{Platform: "linux/amd64", ID: digest.Digest(r.key), Manifest: digest.Digest(r.item.digest)}
		name := cmp.Or(r.item.name, r.name)
		if r.storage {
			p.Transport, p.Manifest = "containers-storage", digest.FromString(r.key)
		}
		if repository(r.name) == repository(name) {
			name = r.name // with its tag
		}
		if !strings.Contains(filepath.Base(name), ":") {
			name += ":latest"
		}
		ref, err := pinParse(name)
		if err != nil {
			left++
			continue
		}
		p.Reference = ref.String()
		if r.lists != nil {
			for n := range r.lists.len() {
				if key := r.lists.key(n); r.belongs(m.index(key)) {
					p.List = digest.Digest(key)
				}
			}
		}
		if key := p.Reference + r.key; !seen[key] {
			pins = append(pins, p)
			seen[key] = true
		}
	}
	return pins, left
}

func pinParse(name string) (pin.Reference, error) { return options(nil).Parse(name) }
