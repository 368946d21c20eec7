package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/layer"
)

// Tree is a directory, or an archive, compressed or not, whose files are read by name. Its methods are safe for concurrent
// use, except that Close must come last.
type Tree struct {
	place
}

// place is where files are stored.
type place interface {
	// blob opens a file, which the caller must close. The error is fs.ErrNotExist if it does not exist.
	blob(name string) (Blob, error)
	io.Closer
}

// OpenTree opens the directory or archive at path. Decompressing an archive may take long; it ends when ctx is done.
func OpenTree(ctx context.Context, path string) (*Tree, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		return &Tree{rooted{root}}, nil
	}
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	switch {
	case fi.Mode().IsRegular():
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return treeOf(ctx, path, file)
	case fi.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) == 0:
		return nil, fmt.Errorf("%s is not a file, a directory or a pipe", path)
	}
	return streamed(ctx, path, open)
}

// ReadTree reads an archive from a stream to its end.
func ReadTree(ctx context.Context, name string, r io.Reader) (*Tree, error) {
	return streamed(ctx, name, func() (io.ReadCloser, error) { return io.NopCloser(r), nil })
}

// streamed opens an archive that can be read only once, by copying it to a temporary file.
func streamed(ctx context.Context, name string, open func() (io.ReadCloser, error)) (*Tree, error) {
	file, err := spool(ctx, open)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return treeOf(ctx, name, file)
}

// treeOf opens the archive in a file, and takes ownership of the file.
func treeOf(ctx context.Context, name string, file *os.File) (*Tree, error) {
	plain, err := decompressed(ctx, file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, cutOff(err)), file.Close())
	}
	a := &archiveReader{file: plain}
	if err := a.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, cutOff(err)), a.Close())
	}
	return &Tree{a}, nil
}

// cutOff rewords the error of a truncated archive.
func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, layer.ErrCutOff) {
		return hint.Add(fmt.Errorf("the archive is cut off: %w", err), "copy or export it again")
	}
	return err
}

// Archive reports whether the tree is an archive rather than a directory.
func (t *Tree) Archive() bool {
	_, ok := t.place.(*archiveReader)
	return ok
}

// Ended reports whether an archive has its end mark. Without one it may be complete, as tar and container tools accept it, or
// be cut off between two files. It is true for a directory.
func (t *Tree) Ended() bool {
	a, ok := t.place.(*archiveReader)
	return !ok || a.ended
}

// Has reports whether the file exists.
func (t *Tree) Has(name string) bool {
	b, err := t.blob(name)
	if err == nil {
		b.Close()
	}
	return err == nil
}

// File opens a file by name. The caller must close it. The error is fs.ErrNotExist if it does not exist.
func (t *Tree) File(name string) (Blob, error) { return t.blob(name) }

// Document reads a whole small file. Unless want is empty, it must have that digest.
func (t *Tree) Document(name string, want digest.Digest) ([]byte, error) {
	return readDocument(t.place, name, want)
}

// Names returns the names of all files of an archive, sorted.
func (t *Tree) Names() []string {
	a, ok := t.place.(*archiveReader)
	if !ok {
		return nil
	}
	return slices.Sorted(maps.Keys(a.index))
}

func readDocument(from place, name string, want digest.Digest) ([]byte, error) {
	b, err := from.blob(name)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	raw, err := read(b, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// rooted is a directory.
type rooted struct{ root *os.Root }

// blob opens a file below the directory. Symbolic links cannot lead outside.
func (r rooted) blob(name string) (Blob, error) {
	file, size, err := openRegular(r.root, name)
	if err != nil {
		return Blob{}, err
	}
	return Blob{File: file, Size: size, Whole: true, own: true}, nil
}

func (r rooted) Close() error { return r.root.Close() }

// openRegular opens a regular file; opening a pipe or device could block.
func openRegular(root *os.Root, name string) (*os.File, int64, error) {
	if info, err := root.Stat(name); err != nil {
		return nil, 0, err
	} else if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", name)
	}
	file, err := root.OpenFile(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
