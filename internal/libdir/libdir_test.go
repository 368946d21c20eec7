package libdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// libdirs returns a directory with our modules, copies of this executable, and a libdir with osbuild's.
func libdirs(t *testing.T) (ours string, osbuild Dir) {
	t.Helper()
	executable, err := os.Executable()
	must(t, err)
	ours, dir := t.TempDir(), t.TempDir()
	for _, d := range []string{ours, dir} {
		for _, kind := range []string{"sources", "stages"} {
			must(t, os.Mkdir(filepath.Join(d, kind), 0o755))
		}
	}
	for _, name := range names {
		must(t, os.Symlink(executable, filepath.Join(ours, name)))
		must(t, os.WriteFile(filepath.Join(ours, name+metaSuffix), []byte("{} of ours "+name), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "sources/org.osbuild.curl"), []byte("curl"), 0o755))
	update(t, dir, 1)
	osbuild, err = Open(dir)
	must(t, err)
	return ours, osbuild
}

// update does what an update of osbuild's package does.
func update(t *testing.T, dir string, version byte) {
	t.Helper()
	for file, content := range osbuilds(version) {
		must(t, os.WriteFile(filepath.Join(dir, ".new"), []byte(content), 0o755))
		must(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, file)))
	}
}

func osbuilds(version byte) map[string]string {
	files := map[string]string{}
	for _, name := range names {
		files[name] = "#!/usr/bin/python3\n" + string('0'+version) + name
		files[name+metaSuffix] = "{} of osbuild " + string('0'+version) + name
	}
	return files
}

// isOsbuilds fails the test unless the libdir has exactly osbuild's files.
func isOsbuilds(t *testing.T, l Dir, version byte) {
	t.Helper()
	want := osbuilds(version)
	want["sources/org.osbuild.curl"] = "curl"
	must(t, filepath.WalkDir(l.dir, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		name, _ := filepath.Rel(l.dir, path)
		if e.IsDir() {
			if e.Name() == Kept {
				t.Errorf("%s is there", name)
			}
			return nil
		}
		raw, err := os.ReadFile(path)
		must(t, err)
		if string(raw) != want[name] {
			t.Errorf("%s: %.40q, want %q", name, raw, want[name])
		}
		delete(want, name)
		return nil
	}))
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

func isOurs(t *testing.T, l Dir, ours string, kept bool) {
	t.Helper()
	all, err := l.Modules()
	must(t, err)
	for _, m := range all {
		if m.State != Ours || m.Kept != kept {
			t.Errorf("%s: %s, kept %v, want ours, kept %v", m.Name, m.State, m.Kept, kept)
		}
		if same, err := sameContent(filepath.Join(ours, m.Name+metaSuffix), l.at(m.Name)+metaSuffix); err != nil || !same {
			t.Errorf("%s%s is not ours: %v", m.Name, metaSuffix, err)
		}
	}
	for _, kind := range []string{"sources", "stages"} { // osbuild treats other files as modules
		entries, err := os.ReadDir(l.at(kind))
		must(t, err)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "org.osbuild.") {
				t.Errorf("%s/%s is there", kind, e.Name())
			}
		}
	}
}

func TestEnableAndDisable(t *testing.T) {
	ours, l := libdirs(t)
	for _, want := range []int{6, 0} {
		changed, err := l.Enable(ours)
		must(t, err)
		if len(changed) != want {
			t.Errorf("%d enabled, want %d: %v", len(changed), want, changed)
		}
		isOurs(t, l, ours, true)
	}
	for _, want := range []int{6, 0} {
		changed, err := l.Disable()
		must(t, err)
		if len(changed) != want {
			t.Errorf("%d disabled, want %d: %v", len(changed), want, changed)
		}
		isOsbuilds(t, l, 1)
	}
}

// TestEveryUserCanReadWhatIsKept enables modules with a umask that gives other users nothing.
func TestEveryUserCanReadWhatIsKept(t *testing.T) {
	ours, l := libdirs(t)
	defer unix.Umask(unix.Umask(0o077))
	_, err := l.Enable(ours)
	must(t, err)
	for _, name := range []string{"", "sources", "stages"} {
		info, err := os.Stat(l.kept(name))
		must(t, err)
		if got := info.Mode().Perm(); got != 0o755 {
			t.Errorf("%s has mode %o, want 755", l.kept(name), got)
		}
	}
}

// TestDryRun: it says what would change, and changes nothing.
func TestDryRun(t *testing.T) {
	ours, l := libdirs(t)
	dry := l
	dry.DryRun = true
	changed, err := dry.Enable(ours)
	must(t, err)
	if len(changed) != 6 {
		t.Errorf("%d would be enabled, want 6: %v", len(changed), changed)
	}
	isOsbuilds(t, l, 1)
	_, err = l.Enable(ours)
	must(t, err)
	changed, err = dry.Disable()
	must(t, err)
	if len(changed) != 6 {
		t.Errorf("%d would be disabled, want 6: %v", len(changed), changed)
	}
	isOurs(t, l, ours, true)
}

func TestUpdateOfOsbuild(t *testing.T) {
	ours, l := libdirs(t)
	_, err := l.Enable(ours)
	must(t, err)
	update(t, l.dir, 2)
	_, err = l.Enable(ours)
	must(t, err)
	isOurs(t, l, ours, true)
	_, err = l.Disable()
	must(t, err)
	isOsbuilds(t, l, 2)

	_, err = l.Enable(ours)
	must(t, err)
	update(t, l.dir, 3)
	_, err = l.Disable() // the kept files are older than the installed ones
	must(t, err)
	isOsbuilds(t, l, 3)
}

// TestUpdateOfOurs checks that the modules replaced by newer ones of ours are not kept as osbuild's.
func TestUpdateOfOurs(t *testing.T) {
	ours, l := libdirs(t)
	_, err := l.Enable(ours)
	must(t, err)
	for _, name := range names {
		file := filepath.Join(ours, name+metaSuffix)
		must(t, os.Remove(file)) // a hard link to the enabled one
		must(t, os.WriteFile(file, []byte("{} of a newer "+name), 0o644))
	}
	changed, err := l.Enable(ours)
	must(t, err)
	if len(changed) != 6 {
		t.Errorf("%d enabled, want 6: %v", len(changed), changed)
	}
	isOurs(t, l, ours, true)
	_, err = l.Disable()
	must(t, err)
	isOsbuilds(t, l, 1)
}

func TestNothingIsKeptWhereOsbuildHasNone(t *testing.T) {
	ours, l := libdirs(t)
	for file := range osbuilds(1) {
		must(t, os.Remove(filepath.Join(l.dir, file)))
	}
	_, err := l.Enable(ours)
	must(t, err)
	isOurs(t, l, ours, false)
	_, err = l.Disable()
	must(t, err)
	left, err := filepath.Glob(l.dir + "/*/*")
	must(t, err)
	if len(left) != 1 {
		t.Errorf("left are %v, want only org.osbuild.curl", left)
	}
}

// TestInterrupted stops each command before each of its steps, runs it again, and checks osbuild's files.
func TestInterrupted(t *testing.T) {
	errKilled := errors.New("killed")
	for _, command := range []string{"enable", "disable"} {
		for step, over := 0, false; !over; step++ {
			ours, l := libdirs(t)
			if command == "disable" {
				_, err := l.Enable(ours)
				must(t, err)
			}
			left := step
			killed := l
			killed.before = func(string) error {
				if left--; left < 0 {
					return errKilled
				}
				return nil
			}
			run := func(l Dir) (err error) {
				if command == "enable" {
					_, err = l.Enable(ours)
				} else {
					_, err = l.Disable()
				}
				return err
			}
			switch err := run(killed); {
			case err == nil && left < 0:
				t.Fatalf("%s succeeds although step %d failed", command, step)
			case err == nil:
				over = true
			case !errors.Is(err, errKilled):
				t.Fatalf("%s, step %d: %v", command, step, err)
			}
			must(t, run(l))
			if command == "enable" {
				isOurs(t, l, ours, true)
			}
			_, err := l.Disable()
			must(t, err)
			isOsbuilds(t, l, 1)
			if t.Failed() {
				t.Fatalf("%s, ended before step %d", command, step)
			}
		}
	}
}

func TestNotALibdir(t *testing.T) {
	_, err := Open(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "is not a libdir of osbuild: ") {
		t.Errorf("got %v", err)
	}
	_, l := libdirs(t)
	if _, err := l.Enable(l.dir); err == nil || !strings.Contains(err.Error(), "has no module sources/org.osbuild.containers-storage of ours") {
		t.Errorf("got %v", err)
	}
	isOsbuilds(t, l, 1)
}
