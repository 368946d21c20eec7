package deploy

import (
	"io"
	"maps"

	"osbuild-containers/internal/tree"
)

// Meta is what a file, directory, link or device has besides its content.
type Meta = tree.Meta

// A Destination is where an image is deployed to: a directory, a file system that is being
// written, an archive. Only one goroutine calls it, and it is used by one deployment.
//
// Names are relative to the root of the destination and clean: no empty, "." or ".."
// component. The root itself is ".", and exists. No name runs through anything but
// directories that Mkdir has made or found.
//
// Errors name the operation and the path. The first one ends the deployment, and what was
// written so far is then to be discarded.
type Destination interface {
	// Mkdir makes a directory. One that exists stays as it is, and there is true. Its
	// metadata follow at the end, with SetDir.
	Mkdir(name string) (there bool, err error)

	// SetDir gives a directory its metadata, in place of what it has. It is called once for
	// each directory that was made, and for those that existed if a layer has them; the
	// deepest come first, and nothing else is called after the first of these calls.
	// wasThere means that Mkdir found the directory.
	SetDir(name string, m Meta, wasThere bool) error

	// Create begins a regular file of size bytes, in the place of what has that name, unless that is
	// a directory. In a sparse file, blocks of zeros are holes. No other method is called before the file
	// is closed or aborted.
	Create(name string, size int64, sparse bool, m Meta) (File, error)

	// Symlink makes a symbolic link, in the place of what has that name, unless that is a
	// directory. The mode in m means nothing. So it is with Mknod, whose kind is S_IFCHR,
	// S_IFBLK or S_IFIFO, and with Link, which gives what was made as old another name.
	Symlink(name, target string, m Meta) error
	Mknod(name string, kind, major, minor uint32, m Meta) error
	Link(name, old string) error

	// SetMeta gives what is not a directory, under all of its names, the metadata of the
	// header of a hard link to it, as Overlay has it. link means that it is a symbolic link.
	SetMeta(name string, m Meta, link bool) error

	// Remove removes what has that name, with all that is in it. That there is nothing is
	// not an error.
	Remove(name string) error

	// Readlink returns the target of a symbolic link, and false for everything else.
	Readlink(name string) (target string, ok bool)
}

// A File is a regular file of a Destination that is being written.
type File interface {
	io.Writer // appends
	Close() error
	Abort() // ends writing, after a failure
}

// Overlay returns the metadata that something has once those of the header of a hard link are
// applied to it, as podman does: attributes that m does not have stay, capabilities only where the
// owner is the same, and a symbolic link keeps its time. It changes neither old nor m.
func Overlay(old, m Meta, link bool) Meta {
	if link {
		m.ModTime = old.ModTime
	}
	if len(old.Xattrs) == 0 {
		return m
	}
	all := maps.Clone(old.Xattrs)
	if old.UID != m.UID || old.GID != m.GID {
		delete(all, capability)
	}
	maps.Copy(all, m.Xattrs)
	m.Xattrs = all
	return m
}

// treeRoot is a Destination that is a directory.
type treeRoot struct{ *tree.Root }

func (t treeRoot) Create(name string, _ int64, sparse bool, m Meta) (File, error) {
	return t.Root.Create(name, sparse, m)
}
