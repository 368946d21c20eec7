package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

// watch runs the job with its calls in and around the cache decided upon.
func (j job) watch(t testing.TB, decide func(calls.Call) calls.Verdict, names ...string) (out string, err error) {
	t.Helper()
	cmd := j.command(t)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err = calls.Start(t, cmd, func(c calls.Call) calls.Verdict {
		if !c.Below(filepath.Dir(filepath.Dir(j.Dir))) {
			return calls.Continue
		}
		return decide(c)
	}, names...).Wait()
	return strings.TrimSpace(text.String()), err
}

// always lets all calls of some names fail, those that want says.
func always(errno syscall.Errno, want func(calls.Call) bool) func(calls.Call) calls.Verdict {
	return func(c calls.Call) calls.Verdict {
		if want == nil || want(c) {
			return errno
		}
		return calls.Continue
	}
}

// verify checks all that can be seen of the job "all": each name is absent, or complete.
func (j job) verify() error {
	c := Open(j.Dir)
	var errs []error
	variants := []picture{draw(j.Seed, 0), draw(j.Seed, 1)}
	if _, err := os.Lstat(c.ImagePath(variants[0].id)); err == nil {
		if variants[0].check(c) != nil && variants[1].check(c) != nil {
			errs = append(errs, errors.New("the published image is neither of the two"))
		}
	}
	if _, err := readOriginsAt(filepath.Dir(c.ImagePath(variants[0].id))); err != nil {
		errs = append(errs, err)
	}
	list := allList(0)
	if _, err := os.Lstat(c.FilePath(descriptor(list).Digest)); err == nil {
		if _, err := c.ReadFile(descriptor(list).Digest); err != nil {
			errs = append(errs, errors.New("the published list is wrong"))
		}
	}
	blobs := filepath.Join(c.containers, poolDir, "blobs", "sha256")
	_ = filepath.WalkDir(blobs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // not there yet
		}
		raw, err := os.ReadFile(path)
		if err != nil || descriptor(raw).Digest.Encoded() != d.Name() {
			errs = append(errs, fmt.Errorf("pool blob %s is wrong: %w", d.Name(), err))
		}
		return nil
	})
	return errors.Join(errs...)
}

// complete runs the job undisturbed and checks that all is there and nothing else.
func (j job) complete(t testing.TB) {
	t.Helper()
	if err := jobs[j.Do](&j); err != nil {
		t.Fatalf("the run after it: %v", err)
	}
	must(t, j.verify())
	c := Open(j.Dir)
	must(t, draw(j.Seed, 1).check(c))
	wantNothingLeft(t, c)
	want := "both=Mon12:00:01 known=never name0=Mon12:00:00 name1=Mon12:00:01"
	if got := originsOf(t, c, draw(j.Seed, 1)); got != want {
		t.Fatalf("recorded is %q, want %q", got, want)
	}
}

// everyCall breaks the job at its first call that changes something, at its second, and so on, or
// at each of a random part of them; after each the cache must be right, and the next run must
// complete it.
func everyCall(t *testing.T, part int, verdict calls.Verdict, after func(t *testing.T, broken calls.Call, out string)) {
	const lanes = 3
	for lane := range lanes {
		t.Run(fmt.Sprint("lane ", lane), func(t *testing.T) {
			t.Parallel()
			for n := 1 + lane; ; n += lanes * (1 + rand.IntN(2*part-1)) {
				j := job{Do: "all", Dir: filepath.Join(memoryDir(t), "cache"), Seed: 1}
				seen := 0
				var broken calls.Call
				out, _ := j.watch(t, func(c calls.Call) calls.Verdict {
					if seen++; seen != n {
						return calls.Continue
					}
					broken = c
					return verdict
				}, calls.Changing...)
				if broken.Name == "" {
					if n < 40 {
						t.Errorf("only %d calls: %s", seen, out)
					}
					return
				}
				if err := j.verify(); err != nil {
					t.Errorf("call %d, %s: %v", n, broken, err)
				}
				after(t, broken, out)
				if j.complete(t); t.Failed() {
					t.Fatalf("call %d, %s", n, broken)
				}
			}
		})
	}
}

// The promise of the package: whatever dies when, and however often.
func TestKilledAtEveryCall(t *testing.T) {
	everyCall(t, 1, calls.Kill, func(t *testing.T, broken calls.Call, out string) {
		if strings.Contains(out, "done") {
			t.Errorf("%s: it was not killed", broken)
		}
	})
}

func TestDiskErrorAtEveryCall(t *testing.T) {
	everyCall(t, 2, syscall.EIO, func(t *testing.T, broken calls.Call, out string) {
		if !strings.Contains(out, "input/output error") && needed(broken) {
			t.Errorf("%s failed without an error: %s", broken, out)
		}
	})
}

// needed reports whether the failure of a call must be an error: cleaning up may fail, for links
// there is another way, and where an image is from need not be known.
func needed(c calls.Call) bool {
	return c.Name != "unlinkat" && c.Name != "linkat" && filepath.Base(c.New) != originFile
}

// A sync that fails tells only once, so what it was to sync may not be published later.
func TestBlobWhoseSyncFailedIsThrownAway(t *testing.T) {
	j := job{Do: "put", Dir: filepath.Join(memoryDir(t), "cache"), Seed: 1, Size: 3000}
	out, err := j.watch(t, always(syscall.EIO, func(c calls.Call) bool { return strings.Contains(c.Path, "partial") }), "fsync")
	if err == nil || !strings.Contains(out, "sync blob") {
		t.Errorf("it ended with %v: %s", err, out)
	}
	c := Open(j.Dir)
	wantNothingLeft(t, c)
	if _, err := os.Lstat(filepath.Join(c.containers, poolDir, "blobs", "sha256", descriptor(content(1, 3000)).Digest.Encoded())); err == nil {
		t.Error("the blob is published")
	}
}

// Where a link, a flag or a file without a name is impossible, there is another way.
func TestOtherWays(t *testing.T) {
	blobLink := func(c calls.Call) bool { return strings.Contains(c.Path, "/blobs/") }
	flags := func(flag uint64) func(calls.Call) bool {
		return func(c calls.Call) bool { return c.Args[4]&flag == flag }
	}
	for name, c := range map[string]struct {
		call   string
		errno  syscall.Errno
		when   func(calls.Call) bool
		copied bool
		file   bool // where the image is to be
	}{
		"too many links":        {"linkat", syscall.EMLINK, blobLink, true, false},
		"other file system":     {"linkat", syscall.EXDEV, blobLink, true, false},
		"links not allowed":     {"linkat", syscall.EPERM, blobLink, true, false},
		"no links":              {"linkat", syscall.EOPNOTSUPP, nil, true, false},
		"no rename flags":       {"renameat2", syscall.EINVAL, nil, false, false},
		"no flags for a file":   {"renameat2", syscall.EINVAL, nil, false, true},
		"no renameat2":          {"renameat2", syscall.ENOSYS, nil, false, false},
		"no exchange":           {"renameat2", syscall.EINVAL, flags(unix.RENAME_EXCHANGE), false, false},
		"no files without name": {"openat", syscall.EOPNOTSUPP, func(c calls.Call) bool { return c.Args[2]&unix.O_TMPFILE == unix.O_TMPFILE }, false, false},
		"no /proc":              {"linkat", syscall.ENOENT, flags(unix.AT_SYMLINK_FOLLOW), false, false},
		"no directory sync":     {"fsync", syscall.EINVAL, isDirectory, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := job{Do: "all", Dir: filepath.Join(memoryDir(t), "cache"), Seed: 1, Umask: 0o022}
			if c.file {
				writeTest(t, Open(j.Dir).ImagePath(draw(1, 0).id), nil)
			}
			hits := 0
			if out, err := j.watch(t, func(call calls.Call) calls.Verdict {
				v := always(c.errno, c.when)(call)
				if v == c.errno {
					hits++
				}
				return v
			}, c.call); err != nil || hits == 0 {
				t.Fatalf("%v after %d calls failed: %s", err, hits, out)
			}
			img := draw(1, 1)
			ca := Open(j.Dir)
			must(t, img.check(ca))
			must(t, j.verify())
			wantNothingLeft(t, ca)
			_, p := openCache(t, j.Dir)
			for _, b := range img.Blobs {
				path := filepath.Join(ca.ImagePath(img.id), b.Digest.Encoded())
				if same(t, path, p.path(b.Digest)) == c.copied || modeOf(t, path) != 0o644 {
					t.Errorf("%s: copied is not %t, or the mode is not 644", path, c.copied)
				}
			}
			if ok, err := p.linkFile(context.Background(), "/nowhere", img.id, 200); !ok || err != nil {
				t.Error("the pool lost a blob")
			}
		})
	}
}

func isDirectory(c calls.Call) bool {
	fi, err := os.Stat(c.Path)
	return err == nil && fi.IsDir()
}

// What gets a published name, or a name in the pool, was synced before, and its directory after.
func TestSyncedBeforeItIsNamed(t *testing.T) {
	for name, blobLink := range map[string]calls.Verdict{"links": calls.Continue, "copies": syscall.EXDEV} {
		t.Run(name, func(t *testing.T) {
			j := job{Do: "all", Dir: filepath.Join(memoryDir(t), "parent", "cache"), Seed: 1}
			must(t, os.Mkdir(filepath.Dir(j.Dir), 0o755))
			u := unsynced{t: t, files: map[string]bool{}, dirs: map[string]bool{}, named: map[string]bool{}}
			out, err := j.watch(t, func(c calls.Call) calls.Verdict {
				if c.Name == "linkat" && strings.Contains(c.Path, "/blobs/") && blobLink != calls.Continue {
					return blobLink
				}
				u.see(c)
				return calls.Continue
			}, append([]string{"openat"}, calls.Changing...)...)
			if err != nil || u.renames < 10 {
				t.Fatalf("%v after %d renames: %s", err, u.renames, out)
			}
			for dir := range u.named {
				t.Errorf("%s has got a name that is not synced", dir)
			}
		})
	}
}

// unsynced is what a power failure would lose.
type unsynced struct {
	t       *testing.T
	files   map[string]bool // that were written
	dirs    map[string]bool // that got names
	named   map[string]bool // directories that got names outside of the pool
	renames int
}

// see looks at a call that is about to be made.
func (u *unsynced) see(c calls.Call) {
	inPool := strings.Contains(c.Path+" "+c.New, "/.pool")
	switch c.Name {
	case "openat":
		if c.Args[2]&unix.O_EXCL != 0 {
			u.files[c.Path] = true
		}
	case "write":
		u.files[c.Path] = true
	case "mkdirat":
		_, there := os.Lstat(c.Path)
		_, possible := os.Lstat(filepath.Dir(c.Path))
		if there != nil && possible == nil && !inPool {
			u.named[filepath.Dir(c.Path)] = true
		}
	case "fsync":
		delete(u.files, c.Path)
		delete(u.dirs, c.Path)
		delete(u.named, c.Path)
	case "linkat", "renameat", "renameat2":
		u.renames++
		if u.dirs[c.Path] {
			u.t.Errorf("%s, but its names are not synced", c)
		}
		for f := range u.files {
			if f == c.Path || strings.HasPrefix(f, c.Path+"/") {
				u.t.Errorf("%s, but %s is not synced", c, f)
			}
		}
		u.dirs[filepath.Dir(c.New)] = true
		if !strings.Contains(c.New, "/.pool/") {
			u.named[filepath.Dir(c.New)] = true
		}
	}
}
