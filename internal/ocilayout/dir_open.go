package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// dirReader is an image in dir: format.
type dirReader struct {
	root *os.Root

	mu     sync.Mutex
	opened map[string]*os.File
}

// OpenDir opens the image in the directory at path. The manifest may be a manifest list if the directory also has exactly
// one of its images.
func OpenDir(ctx context.Context, path string) (*Image, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open image directory: %w", err)
	}
	f := &dirReader{root: root, opened: map[string]*os.File{}}
	img, err := f.image(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image in %s: %w", path, err), f.Close())
	}
	return img, nil
}

func (f *dirReader) image(ctx context.Context) (*Image, error) {
	l, err := dirOf(ctx, f)
	if err != nil {
		return nil, err
	}
	switch {
	case len(l.Others) > 0:
		return nil, l.Others[0].Err
	case len(l.Images) > 1:
		return nil, fmt.Errorf("the directory has several images of a manifest list, %s and %s: give one", l.Images[0].Digest, l.Images[1].Digest)
	case len(l.Images) == 0 && len(l.Lists) > 1:
		return nil, errors.New("the manifest list names another one: give an image")
	case len(l.Images) == 0:
		return nil, errors.New("the directory has a manifest list and none of its images: give an image")
	}
	d := l.Images[0]
	if d.Schema1 != nil {
		file, err := inMemory(d.Schema1.Config)
		if err != nil {
			return nil, fmt.Errorf("keep config: %w", err)
		}
		f.opened[d.Manifest.Config.Digest.Encoded()] = file
	}
	return &Image{raw: d.Raw, m: d.Manifest, from: f, sigs: d.Signatures}, nil
}

// inMemory returns an anonymous file in memory.
func inMemory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("config", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), "config")
	if _, err := file.Write(content); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (f *dirReader) open(d digest.Digest) (Blob, error) { return f.file(d.Encoded()) }

func (f *dirReader) blob(name string) (Blob, error) { return f.file(name) }

// file opens a file, once.
func (f *dirReader) file(name string) (Blob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file := f.opened[name]
	if file == nil {
		var err error
		if file, _, err = openRegular(f.root, name); err != nil {
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

// Close closes the directory and its files.
func (f *dirReader) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.opened {
		file.Close()
	}
	return f.root.Close()
}
