package resolve

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

// A TreeDir is an open directory of a tree.
type TreeDir struct {
	File *os.File // open directory
	Path string   // path with no symbolic link below the tree

	made []string // directories created, parents first
}

// Close closes the directory.
func (f *TreeDir) Close() error { return f.File.Close() }

// New reports whether the directory was created.
func (f *TreeDir) New() bool { return slices.Contains(f.made, f.Path) }

// SetTime sets the times of the created directories. Call it when their content is complete.
func (f *TreeDir) SetTime(t time.Time) error {
	for _, dir := range slices.Backward(f.made) {
		if err := os.Chtimes(dir, t, t); err != nil {
			return fmt.Errorf("set time: %w", err)
		}
	}
	return nil
}

// CheckInTree returns what is wrong with a path in a tree, or "".
func CheckInTree(path string) string {
	switch {
	case strings.ContainsRune(path, 0):
		return "has a NUL byte in it"
	case slices.Contains(strings.Split(path, "/"), ".."):
		return fmt.Sprintf(`must stay in the tree, but has ".." in it: %q`, path)
	}
	return ""
}

// OpenInTree opens the directory at path in a tree. Symbolic links are resolved as if the tree were the root of the file system.
// Nothing outside the tree is opened or created, whatever the tree contains; other processes must not rename its directories
// in the meantime.
func OpenInTree(tree, path string) (*TreeDir, error) { return inTree(tree, path, false) }

// MkdirInTree is OpenInTree, but creates missing directories with mode 0755.
func MkdirInTree(tree, path string) (*TreeDir, error) { return inTree(tree, path, true) }

// FileInTree is OpenInTree for a file: it returns the file's directory and its name there, which is not a symbolic link. The
// file need not exist.
func FileInTree(tree, path string) (dir *TreeDir, base string, err error) {
	w := &treeWalk{tree: tree, file: true}
	dir, err = w.walk(path)
	return dir, w.base, err
}

func inTree(tree, path string, mkdir bool) (*TreeDir, error) {
	w := &treeWalk{tree: tree, mkdir: mkdir}
	return w.walk(path)
}

func (w *treeWalk) walk(path string) (*TreeDir, error) {
	if text := CheckInTree(path); text != "" {
		return nil, fmt.Errorf("path %s", text)
	}
	root, err := os.Open(w.tree)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	w.dirs = []*os.File{root}
	err = w.to(path)
	last := w.dirs[len(w.dirs)-1]
	for _, d := range w.dirs[:len(w.dirs)-1] {
		d.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s in the tree: %w", path, err), last.Close())
	}
	return &TreeDir{File: last, Path: w.path(), made: w.made}, nil
}

// treeWalk walks from the root of a tree to a directory. It keeps all handles, so that ".." needs no system call, which could
// leave the tree.
type treeWalk struct {
	tree  string
	mkdir bool
	file  bool       // the last name is a file
	base  string     // name of the file
	dirs  []*os.File // root to current directory
	names []string   // names of dirs[1:]
	links int
	made  []string
}

func (w *treeWalk) path() string { return filepath.Join(append([]string{w.tree}, w.names...)...) }

func (w *treeWalk) to(path string) error {
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..": // from a symbolic link
			if n := len(w.names); n > 0 {
				w.dirs[n].Close()
				w.dirs, w.names = w.dirs[:n], w.names[:n-1]
			}
			continue
		}
		var target string
		if w.file && len(rest) == 0 {
			if target = w.readlink(name); target == "" {
				w.base = name
				return nil
			}
		} else {
			var err error
			if target, err = w.step(name); err != nil {
				return err
			}
			if target == "" {
				continue
			}
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
	if w.file {
		return errors.New("is a directory")
	}
	return nil
}

// readlink returns the target of a symbolic link in the current directory, or "".
func (w *treeWalk) readlink(name string) string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(w.dirs[len(w.dirs)-1].Fd()), name, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// step enters the named directory, or returns the target of a symbolic link.
func (w *treeWalk) step(name string) (target string, err error) {
	in := int(w.dirs[len(w.dirs)-1].Fd())
	const flags = unix.O_DIRECTORY | unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(in, name, flags, 0)
	if err == unix.ENOENT && w.mkdir {
		if err := unix.Mkdirat(in, name, 0o755); err != nil {
			return "", fmt.Errorf("make directory %q: %w", name, err)
		}
		w.made = append(w.made, filepath.Join(w.path(), name))
		fd, err = unix.Openat(in, name, flags, 0)
	}
	if err == unix.ENOTDIR || err == unix.ELOOP {
		if target := w.readlink(name); target != "" {
			return target, nil
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
