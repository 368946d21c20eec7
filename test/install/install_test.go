// Package install tests what make install copies, with what make has built.
package install

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// most is how much all that is installed may take, in bytes.
const most = 60_000_000

const theirs = "#!/usr/bin/python3\n"

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "../.."
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // as sudo does, without Go
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// files returns what is below a directory, and how many bytes it has, hard links counted once.
func files(t *testing.T, root string) (names []string, size int64) {
	t.Helper()
	seen := map[uint64]bool{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if !seen[st.Ino] {
			size += info.Size()
		}
		seen[st.Ino] = true
		name, _ := filepath.Rel(root, path)
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, size
}

// TestInstallAndUninstall installs twice, over a libdir of osbuild, and uninstalls.
func TestInstallAndUninstall(t *testing.T) {
	if _, err := os.Stat("../../build/man1"); err != nil {
		t.Skip("run make first")
	}
	root := t.TempDir()
	for _, name := range []string{"usr/lib/osbuild/sources/org.osbuild.skopeo", "usr/lib/osbuild/sources/org.osbuild.skopeo.meta.json", "usr/lib/osbuild/stages/org.osbuild.mkfs.ext4", "usr/share/man/man1/ls.1"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(theirs), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := files(t, root)

	install := []string{"build", root, "/usr", "/usr/lib/osbuild"}
	run(t, "packaging/install", install...)
	_, size := files(t, root)
	if size > most {
		t.Errorf("%d bytes are installed, want at most %d", size, most)
	}
	run(t, "packaging/install", install...)
	status := run(t, filepath.Join(root, "usr/bin/osbuild-containers"), "modules", "status", "--libdir", filepath.Join(root, "usr/lib/osbuild"))
	if n := strings.Count(status, " ours "); n != 6 || strings.Count(status, "osbuild's is kept") != 1 {
		t.Errorf("%d modules are ours, want 6, and osbuild's one kept:\n%s", n, status)
	}
	for _, kind := range []string{"sources", "stages"} {
		paths, _ := filepath.Glob(filepath.Join(root, "usr/lib*/osbuild*", kind, "org.osbuild.*[a-z]"))
		first := ""
		for _, path := range paths {
			if strings.HasSuffix(path, ".json") || strings.HasSuffix(path, "ext4") {
				continue
			}
			a, _ := os.Stat(path)
			if first == "" {
				first = path
			} else if b, _ := os.Stat(first); !os.SameFile(a, b) {
				t.Errorf("%s and %s are two files, want hard links to one", first, path)
			}
			out := run(t, path, "--version")
			if !strings.HasPrefix(out, filepath.Base(path)+" ") {
				t.Errorf("%s --version: %s", path, out)
			}
		}
	}

	run(t, "packaging/uninstall", install[1:]...)
	after, _ := files(t, root)
	if got, want := strings.Join(after, "\n"), strings.Join(before, "\n"); got != want {
		t.Errorf("left is\n%s\nwant\n%s", got, want)
	}
	if raw, err := os.ReadFile(filepath.Join(root, "usr/lib/osbuild/sources/org.osbuild.skopeo")); err != nil || string(raw) != theirs {
		t.Errorf("osbuild's module: %q, %v", raw, err)
	}
}

// TestEveryUserCanReadWhatIsInstalled installs what make has built with a umask that gives other users nothing.
func TestEveryUserCanReadWhatIsInstalled(t *testing.T) {
	build, root := t.TempDir(), t.TempDir()
	defer syscall.Umask(syscall.Umask(0o077))
	for _, file := range []string{
		"osbuild-containers", "libdir/sources/x", "libdir/sources/x.meta.json", "libdir/stages/x", "man1/x",
		"completions/osbuild-containers.bash", "completions/_osbuild-containers", "completions/osbuild-containers.fish",
	} {
		path := filepath.Join(build, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, nil, 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "packaging/install", build, root, "/usr", "")
	if err := filepath.WalkDir(filepath.Join(root, "usr"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if mode := info.Mode().Perm(); mode&0o444 != 0o444 || mode&0o111 != 0 && mode&0o111 != 0o111 || mode&0o022 != 0 {
			t.Errorf("%s has mode %o", path, mode)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestVersionOfAnothersCheckout asks for the version of a checkout that belongs to another user, and of an archive.
func TestVersionOfAnothersCheckout(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(run(t, "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "safe.directory=*"}, args...)...))
	}
	run(t, "cp", "-r", "packaging", ".gitattributes", dir)
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "first", "--date", "2026-01-02T03:04:05Z")
	git("tag", "-a", "-m", "release", "v1.2.3")
	commit := git("rev-parse", "--short", "HEAD")
	if os.Geteuid() == 0 {
		run(t, "chown", "-R", "65534", dir)
	}
	if got := run(t, filepath.Join(dir, "packaging/version")); !strings.HasPrefix(got, "1.2.3 "+commit+" ") {
		t.Errorf("got %s, want 1.2.3 %s", got, commit)
	}
	archive := t.TempDir()
	git("archive", "-o", archive+".tar", "HEAD")
	run(t, "tar", "-xf", archive+".tar", "-C", archive)
	if got := run(t, filepath.Join(archive, "packaging/version")); !strings.HasPrefix(got, "1.2.3 "+commit+" ") {
		t.Errorf("archive: got %s, want 1.2.3 %s", got, commit)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		t.Fatal(err)
	}
	if got := run(t, filepath.Join(dir, "packaging/version")); got != "unknown unknown unknown 0\n" {
		t.Errorf("without git: got %s", got)
	}
}
