// Package within finds places in a tree that somebody else has filled.
//
// A path in a tree means what it would mean if the tree were the root of the file
// system: a symbolic link in it leads to a place in the tree, whatever it says. What is
// found is a handle, and a path that has no symbolic link in it below the tree.
//
// What it promises: nothing outside the tree is opened or made. What it does not: it
// does not protect against others who rename the tree's directories at the same time.
package within

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may run through, as in the kernel.
const maxLinks = 40

// Directory is a directory in a tree.
type Folder struct {
	File *os.File // the handle
	Path string   // the tree's own path and then no symbolic link

	made []string // directories that were missing, the upper ones first
}

// Close closes the handle.
func (f *Folder) Close() error { return f.File.Close() }

// New reports whether the directory was missing.
func (f *Folder) New() bool { return slices.Contains(f.made, f.Path) }

// SetTime gives the directories that were made that time, after all was put there.
func (f *Folder) SetTime(t time.Time) error {
	for _, dir := range slices.Backward(f.made) {
		if err := os.Chtimes(dir, t, t); err != nil {
			return fmt.Errorf("set time: %w", err)
		}
	}
	return nil
}

// Check says what is wrong with a path in a tree, or nothing.
func Check(path string) string {
	switch {
	case strings.ContainsRune(path, 0):
		return "has a NUL byte in it"
	case slices.Contains(strings.Split(path, "/"), ".."):
		return fmt.Sprintf(`must stay in the tree, but has ".." in it: %q`, path)
	}
	return ""
}

// Make opens the directory at path in the tree, making those that are missing.
func Make(tree, path string) (*Folder, error) {
	if text := Check(path); text != "" {
		return nil, fmt.Errorf("path %s", text)
	}
	root, err := os.Open(tree)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	w := &walk{tree: tree, dirs: []*os.File{root}}
	err = w.to(path)
	last := w.dirs[len(w.dirs)-1]
	for _, d := range w.dirs[:len(w.dirs)-1] {
		d.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s in the tree: %w", path, err), last.Close())
	}
	return &Folder{File: last, Path: w.path(), made: w.made}, nil
}

// walk is on its way from the root of the tree to a directory.
type walk struct {
	tree  string
	dirs  []*os.File // from the root to where it is
	names []string   // of dirs but the first
	links int
	made  []string
}

func (w *walk) path() string { return filepath.Join(append([]string{w.tree}, w.names...)...) }

func (w *walk) to(path string) error {
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..": // of a symbolic link
			if n := len(w.names); n > 0 {
				w.dirs[n].Close()
				w.dirs, w.names = w.dirs[:n], w.names[:n-1]
			}
			continue
		}
		target, err := w.step(name)
		if err != nil {
			return err
		}
		if target == "" {
			continue
		}
		if w.links++; w.links > maxLinks {
			return unix.ELOOP
		}
		if filepath.IsAbs(target) {
			for _, d := range w.dirs[1:] {
				d.Close()
			}
			w.dirs, w.names = w.dirs[:1], nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// step enters the directory of that name, or returns where a symbolic link leads.
func (w *walk) step(name string) (target string, err error) {
	in := int(w.dirs[len(w.dirs)-1].Fd())
	const flags = unix.O_DIRECTORY | unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(in, name, flags, 0)
	if err == unix.ENOENT {
		if err := unix.Mkdirat(in, name, 0o755); err != nil {
			return "", fmt.Errorf("make directory %q: %w", name, err)
		}
		w.made = append(w.made, filepath.Join(w.path(), name))
		fd, err = unix.Openat(in, name, flags, 0)
	}
	if err == unix.ENOTDIR || err == unix.ELOOP {
		buf := make([]byte, unix.PathMax)
		n, e := unix.Readlinkat(in, name, buf)
		if e == nil && n > 0 {
			return string(buf[:n]), nil
		}
		return "", fmt.Errorf("%q is not a directory", name)
	}
	if err != nil {
		return "", fmt.Errorf("open directory %q: %w", name, err)
	}
	w.dirs = append(w.dirs, os.NewFile(uintptr(fd), name))
	w.names = append(w.names, name)
	return "", nil
}
