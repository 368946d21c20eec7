package resolve_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
)

const other = 1234

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// needRoot skips tests that need files of several users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
}

// TestTarget pairs paths in a world-writable directory with results.
func TestTarget(t *testing.T) {
	needRoot(t)
	const foreign, missing = "another user's", "missing"
	for name, c := range map[string]struct {
		path string
		want string // the name in the private directory or the shared one, or an error
	}{
		"new file":                       {"shared/new", "shared/new"},
		"own file":                       {"shared/own", "shared/own"},
		"own link":                       {"shared/own-link", "private/file"},
		"own link with a slash":          {"shared/own-dir-link/", "private"},
		"link of the directory's owner":  {"theirs/link", "private/file"},
		"own link, directory of another": {"theirs/own-link", "private/file"},
		"own dangling link":              {"shared/dangling", missing},
		"their file":                     {"shared/file", foreign},
		"their pipe":                     {"shared/pipe", foreign},
		"their directory":                {"shared/dir", foreign},
		"in their directory":             {"shared/dir/new", "shared/dir/new"},
		"their link":                     {"shared/link", foreign},
		"their dangling link":            {"shared/their-dangling", foreign},
		"their link above":               {"shared/dir-link/new", foreign},
		"their link above, dots":         {"shared/dir-link/../private/file", foreign},
		"their link behind a link":       {"private/to-shared", foreign},
		"their link to a link":           {"shared/twice", foreign},
		"their link, not shared":         {"private/their-link", "private/file"},
		"their link, not sticky":         {"open/link", "private/file"},
		"their pipe, not sticky":         {"open/pipe", "open/pipe"},
		"loop":                           {"private/loop", "too many levels"},
		"no such directory":              {"private/none/new", "no such file"},
		"a file above":                   {"private/file/new", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			at := func(name string) string { return filepath.Join(top, name) }
			for dir, mode := range map[string]os.FileMode{
				"private": 0o755, "shared": 0o777 | os.ModeSticky, "theirs": 0o777 | os.ModeSticky, "open": 0o777, "shared/dir": 0o755,
			} {
				must(t, os.MkdirAll(at(dir), 0o755), os.Chmod(at(dir), mode))
			}
			for _, file := range []string{"private/file", "shared/own", "shared/file"} {
				must(t, os.WriteFile(at(file), nil, 0o600))
			}
			for link, to := range map[string]string{
				"shared/own-link": "../private/file", "shared/own-dir-link": at("private"), "theirs/link": at("private/file"), "theirs/own-link": at("private/file"),
				"shared/dangling": "none", "shared/link": at("private/file"), "shared/their-dangling": at("private/none"), "shared/dir-link": at("private"),
				"private/to-shared": at("shared/link"), "shared/twice": "own-link", "private/their-link": "file", "open/link": at("private/file"),
				"private/loop": "loop",
			} {
				must(t, os.Symlink(to, at(link)))
			}
			must(t, unix.Mkfifo(at("shared/pipe"), 0o666), unix.Mkfifo(at("open/pipe"), 0o666))
			for _, theirs := range []string{
				"theirs", "theirs/link", "shared/file", "shared/pipe", "shared/dir", "shared/link", "shared/their-dangling", "shared/dir-link",
				"shared/twice", "private/their-link", "open/link", "open/pipe",
			} {
				must(t, os.Lchown(at(theirs), other, other))
			}

			p, err := resolve.Target(top + "/" + c.path)
			if err != nil {
				want := map[string]string{foreign: fmt.Sprint("belongs to user ", other), missing: "which does not exist"}[c.want]
				if want == "" {
					want = c.want
				}
				if !strings.Contains(err.Error(), want) || errors.Is(err, resolve.ErrForeign) != (c.want == foreign) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			defer p.Close()
			if p.Path != at(c.want) {
				t.Errorf("got %s, want %s", p.Path, c.want)
			}
			var st unix.Stat_t
			if err := unix.Lstat(at(c.want), &st); (err == nil) != (p.Stat != nil) || err == nil && st.Ino != p.Stat.Ino {
				t.Errorf("got %v, want %v, %v", p.Stat, st, err)
			}
		})
	}
}

// TestLinksOfProc writes to open files by their names in /proc and /dev, such as standard output.
func TestLinksOfProc(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	defer file.Close()
	removed, err := os.Create(filepath.Join(t.TempDir(), "removed"))
	must(t, err, os.Remove(removed.Name()))
	defer removed.Close()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	for name, c := range map[string]struct {
		of      *os.File
		regular bool
	}{"pipe": {w, false}, "removed file": {removed, false}, "file": {file, true}} {
		for _, form := range []string{"/proc/self/fd/%d", "/dev/fd/%d"} {
			path := fmt.Sprintf(form, c.of.Fd())
			p, err := resolve.Target(path)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if p.IsRegular() != c.regular || p.Proc == c.regular {
				t.Errorf("%s: a regular file: %v, without a path: %v", name, p.IsRegular(), p.Proc)
			}
			out, err := p.Open(unix.O_WRONLY)
			must(t, err)
			_, err = out.WriteString(name)
			must(t, err, out.Close(), p.Close())
			got := make([]byte, len(name))
			if c.of == w {
				_, err = io.ReadFull(r, got)
			} else {
				_, err = c.of.ReadAt(got, 0)
			}
			if err != nil || string(got) != name {
				t.Errorf("%s: got %q, %v", path, got, err)
			}
		}
	}
	p, err := resolve.Target("/dev/null")
	must(t, err)
	defer p.Close()
	if p.Path != "/dev/null" || p.IsRegular() || p.Proc {
		t.Errorf("/dev/null is %+v", p)
	}
}

// TestOpenIsOfWhatWasFound replaces a file between Find and Open.
func TestOpenIsOfWhatWasFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, nil, 0o600))
	p, err := resolve.Target(path)
	must(t, err)
	defer p.Close()
	must(t, os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
	if f, err := p.Open(unix.O_WRONLY); err == nil {
		f.Close()
		t.Error("another file was opened")
	}
	must(t, os.Remove(path), os.Symlink("/dev/null", path))
	if f, err := p.Open(unix.O_WRONLY); err == nil {
		f.Close()
		t.Error("a link was followed")
	}
}
