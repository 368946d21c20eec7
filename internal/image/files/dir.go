package files

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// folder is an image in the dir: format.
type folder struct {
	root *os.Root

	mu     sync.Mutex
	opened map[string]*os.File
}

// OpenDir opens the image in the folder at path. A manifest list in the place of the
// manifest is accepted when the folder has one of the manifests that the list names.
func OpenDir(path string) (*Image, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open image folder: %w", err)
	}
	f := &folder{root: root, opened: map[string]*os.File{}}
	img, err := f.image()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image in %s: %w", path, err), f.Close())
	}
	return img, nil
}

func (f *folder) image() (*Image, error) {
	raw, err := f.document("manifest.json", "")
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("there is no manifest.json: this is not an image in the dir: format")
	}
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, err
	}
	suffix := ""
	if m.List {
		if raw, m, suffix, err = f.instance(m); err != nil {
			return nil, err
		}
	}
	sigs, err := f.signatures(suffix)
	return &Image{raw: raw, m: m, from: f, sigs: sigs}, err
}

// instance finds the one manifest of the list that the folder has.
func (f *folder) instance(list *manifest.Manifest) (raw []byte, m *manifest.Manifest, prefix string, err error) {
	var found digest.Digest
	for _, e := range list.Entries {
		one, err := f.document(e.Digest.Encoded()+".manifest.json", e.Digest)
		if errors.Is(err, os.ErrNotExist) || e.Digest == found {
			continue
		}
		if err != nil {
			return nil, nil, "", err
		}
		if found != "" {
			return nil, nil, "", fmt.Errorf("the folder has several images of a manifest list, %s and %s: give one", found, e.Digest)
		}
		found, raw = e.Digest, one
	}
	if found == "" {
		return nil, nil, "", errors.New("the folder has a manifest list and none of its images: give an image")
	}
	m, err = manifest.Parse(raw)
	if err == nil && m.List {
		err = errors.New("the manifest list names another one: give an image")
	}
	return raw, m, found.Encoded() + "-", err
}

// signatures reads signature-1 and those that follow.
func (f *folder) signatures(prefix string) ([][]byte, error) {
	var sigs [][]byte
	for n := 1; ; n++ {
		sig, err := f.document(prefix+"signature-"+strconv.Itoa(n), "")
		if errors.Is(err, os.ErrNotExist) {
			return sigs, nil
		}
		if err != nil {
			return nil, err
		}
		sigs = append(sigs, sig)
	}
}

func (f *folder) document(name string, want digest.Digest) ([]byte, error) {
	b, err := f.file(name)
	if err != nil {
		return nil, err
	}
	raw, err := read(b, want)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return raw, nil
}

func (f *folder) open(d digest.Digest) (Blob, error) { return f.file(d.Encoded()) }

// file opens a file once. A pipe or device would be waited for: only files are opened.
func (f *folder) file(name string) (Blob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file := f.opened[name]
	if file == nil {
		info, err := f.root.Stat(name)
		if err != nil {
			return Blob{}, err
		}
		if !info.Mode().IsRegular() {
			return Blob{}, fmt.Errorf("%s is not a file", name)
		}
		if file, err = f.root.Open(name); err != nil {
			return Blob{}, err
		}
		f.opened[name] = file
	}
	info, err := file.Stat()
	if err != nil {
		return Blob{}, err
	}
	return Blob{File: file, Size: info.Size(), Whole: true}, nil
}

// Close closes the folder and its files.
func (f *folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.opened {
		file.Close()
	}
	return f.root.Close()
}
