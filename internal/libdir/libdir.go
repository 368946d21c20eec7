// Package libdir installs this project's modules in a libdir of osbuild, and restores osbuild's own.
//
// The names are those of osbuild's modules, so osbuild's files are moved to the directory Kept of the libdir, where osbuild does
// not look for modules, and moved back when the modules are disabled. An update of osbuild restores its own files; enabling
// again keeps the newer ones.
//
// Each file is replaced atomically, and only after osbuild's has been kept, so nothing is lost if the process dies: running the
// same command again completes the work. A lock allows one process at a time per libdir.
package libdir

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// Kept is the directory of a libdir for osbuild's files replaced by our modules.
const Kept = "osbuild-containers"

// path is the main module of our executables, as recorded by Go.
const path = "osbuild-containers"

// metaSuffix is the suffix of the file that describes a module.
const metaSuffix = ".meta.json"

// names are the modules, as paths below a libdir.
var names = []string{
	"sources/org.osbuild.containers-storage",
	"sources/org.osbuild.skopeo",
	"sources/org.osbuild.skopeo-index",
	"stages/org.osbuild.container-deploy",
	"stages/org.osbuild.oci-archive",
	"stages/org.osbuild.skopeo",
}

// A State says whose module a libdir has.
type State string

// States.
const (
	Ours    State = "ours"
	Theirs  State = "osbuild"
	Missing State = "missing"
)

// A Module is one module of a libdir.
type Module struct {
	Name  string // below the libdir, for example sources/org.osbuild.skopeo
	State State
	Kept  bool // osbuild's own module is in the directory Kept
}

// A Dir is a libdir of osbuild.
type Dir struct {
	DryRun bool // Enable and Disable find what they would change, and change nothing

	dir    string
	before func(file string) error // called before a file is replaced or removed; for tests; may be nil
}

// Open returns the libdir at dir, or an error if dir is not a libdir.
func Open(dir string) (Dir, error) {
	for _, kind := range []string{"sources", "stages"} {
		info, err := os.Stat(filepath.Join(dir, kind))
		if err != nil {
			return Dir{}, hint.Add(fmt.Errorf("%s is not a libdir of osbuild: %w", dir, err), "install osbuild first, or name its libdir with --libdir")
		}
		if !info.IsDir() {
			return Dir{}, fmt.Errorf("%s is not a libdir of osbuild: %s is not a directory", dir, kind)
		}
	}
	return Dir{dir: dir}, nil
}

// Modules returns the state of all modules.
func (l Dir) Modules() ([]Module, error) {
	all := make([]Module, 0, len(names))
	for _, name := range names {
		m := Module{Name: name}
		var err error
		if m.State, err = stateOf(l.at(name)); err != nil {
			return nil, err
		}
		if m.Kept, err = exists(l.kept(name)); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// stateOf returns whose module a file is.
func stateOf(file string) (State, error) {
	if found, err := exists(file); !found || err != nil {
		return Missing, err
	}
	info, err := buildinfo.ReadFile(file)
	switch {
	case err == nil && info.Main.Path == path:
		return Ours, nil
	case errors.Is(err, fs.ErrPermission):
		return "", err
	}
	return Theirs, nil // a script
}

// Enable installs the modules in from, which has the form of a libdir, as hard links if possible. It returns the names of those
// installed.
func (l Dir) Enable(from string) (changed []string, err error) {
	for _, name := range names {
		switch state, err := stateOf(filepath.Join(from, name)); {
		case err != nil:
			return nil, err
		case state != Ours:
			return nil, fmt.Errorf("%s has no module %s of ours", from, name)
		}
	}
	unlock, err := l.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, name := range names {
		done, err := l.enable(filepath.Join(from, name), name)
		if err != nil {
			return changed, l.advise(fmt.Errorf("enable %s: %w", name, err))
		}
		if done {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// enable installs one module. Both of osbuild's files are kept before the first one is replaced.
func (l Dir) enable(from, name string) (changed bool, err error) {
	state, err := stateOf(l.at(name))
	if err != nil {
		return false, err
	}
	for _, suffix := range []string{"", metaSuffix} {
		found, err := exists(l.at(name) + suffix)
		if err != nil {
			return false, err
		}
		same, err := sameContent(from+suffix, l.at(name)+suffix)
		if err != nil {
			return false, err
		}
		if state != Theirs || !found || same {
			continue
		}
		if err := l.put(l.at(name)+suffix, l.kept(name)+suffix); err != nil {
			return false, fmt.Errorf("keep osbuild's: %w", err)
		}
	}
	for _, suffix := range []string{"", metaSuffix} {
		same, err := sameContent(from+suffix, l.at(name)+suffix)
		if err != nil {
			return false, err
		}
		if same && sameFile(from+suffix, l.at(name)+suffix) {
			continue
		}
		if err := l.put(from+suffix, l.at(name)+suffix); err != nil { // the second copy becomes a link, too
			return false, err
		}
		changed = changed || !same
	}
	return changed, nil
}

// Disable removes the modules from the libdir and restores osbuild's. It returns the names of those removed.
func (l Dir) Disable() (changed []string, err error) {
	unlock, err := l.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, name := range names {
		done, err := l.disable(name)
		if err != nil {
			return changed, l.advise(fmt.Errorf("disable %s: %w", name, err))
		}
		if done {
			changed = append(changed, name)
		}
	}
	if l.DryRun {
		return changed, nil
	}
	for _, kind := range []string{"sources", "stages", ""} {
		_ = os.Remove(l.kept(kind)) // only if empty
	}
	return changed, nil
}

// disable restores the module's description first, so that it describes our module as long as that is installed, unless
// osbuild's has been restored already.
func (l Dir) disable(name string) (changed bool, err error) {
	state, err := stateOf(l.at(name))
	if err != nil {
		return false, err
	}
	kept, err := exists(l.kept(name))
	if err != nil {
		return false, err
	}
	if state != Ours { // osbuild was updated or removed: the kept files are old
		for _, suffix := range []string{"", metaSuffix} {
			if err := l.remove(l.kept(name) + suffix); err != nil {
				return false, err
			}
		}
		return false, nil
	}
	if !kept {
		for _, suffix := range []string{"", metaSuffix} {
			if err := l.remove(l.at(name) + suffix); err != nil {
				return false, err
			}
		}
		return true, syncDir(filepath.Dir(l.at(name)))
	}
	for _, suffix := range []string{metaSuffix, ""} {
		if err := l.rename(l.kept(name)+suffix, l.at(name)+suffix); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return false, err
		}
		if err := syncDir(filepath.Dir(l.at(name))); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (l Dir) at(name string) string   { return filepath.Join(l.dir, name) }
func (l Dir) kept(name string) string { return filepath.Join(l.dir, Kept, name) }

// tempPrefix is the prefix of directories with temporary files.
const tempPrefix = ".new-"

// lock locks the libdir, waiting for other processes.
func (l Dir) lock() (unlock func(), err error) {
	f, err := os.Open(l.dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", l.dir, err)
	}
	old, _ := filepath.Glob(filepath.Join(l.kept(""), tempPrefix+"*")) // left by killed processes
	for _, dir := range old {
		_ = os.RemoveAll(dir)
	}
	return func() { f.Close() }, nil
}

// advise adds a hint to an error of the file system.
func (l Dir) advise(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return hint.Add(err, "run it as root, or as the owner of %s", l.dir)
	case errors.Is(err, unix.EROFS):
		return hint.Add(err, "%s is read-only: copy it, and name the copy with --libdir here and to osbuild", l.dir)
	}
	return err
}

// put atomically and durably makes to a hard link to the file from, or a copy of it. Temporary files are in the directory Kept,
// which is on the same file system as the libdir.
func (l Dir) put(from, to string) error {
	if l.DryRun {
		return nil
	}
	for _, dir := range []string{l.kept(""), filepath.Dir(to)} {
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.Chmod(dir, 0o755) // whatever the umask: osbuild can run as any user
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	temp, err := os.MkdirTemp(l.kept(""), tempPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	file := filepath.Join(temp, "file")
	if os.Link(from, file) != nil {
		if err := duplicate(from, file); err != nil {
			return err
		}
	}
	if err := l.rename(file, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func (l Dir) rename(from, to string) error {
	if l.DryRun {
		return nil
	}
	if l.before != nil {
		if err := l.before(to); err != nil {
			return err
		}
	}
	return os.Rename(from, to)
}

func (l Dir) remove(file string) error {
	if l.DryRun {
		return nil
	}
	if l.before != nil {
		if err := l.before(file); err != nil {
			return err
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func duplicate(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	return out.Sync()
}

// sameContent reports whether both files exist and are equal.
func sameContent(a, b string) (bool, error) {
	if sameFile(a, b) {
		return true, nil
	}
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && bytes.Equal(x, y), err
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func exists(file string) (bool, error) {
	_, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
