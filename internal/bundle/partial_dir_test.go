package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/test/calls"
)

// layout describes everything in a directory: names, modes, times, and contents.
func layout(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		var content []byte
		if e.Type().IsRegular() {
			content, err = os.ReadFile(path)
			must(t, err)
		}
		name, _ := filepath.Rel(dir, path)
		all = append(all, fmt.Sprintf("%s %s %s %x", name, info.Mode(), info.ModTime().UTC(), content))
		return nil
	}))
	return all
}

// wantLayout checks that the directory contains only a bundle, as described by layout.
func wantLayout(t testing.TB, dir string, want []string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	if got := layout(t, filepath.Join(dir, "bundle")); !slices.Equal(got, want) {
		t.Errorf("got a bundle that differs from a new one: %.200q, want %.200q", got, want)
	}
}

// Whatever is found in an unfinished directory, the next export writes the same bytes as a new one.
func TestExportResumesPartialDirectory(t *testing.T) {
	from, another := twoLayers(t, 1), twoLayers(t, 2)
	fresh, foreign := filepath.Join(t.TempDir(), "bundle"), filepath.Join(t.TempDir(), "bundle")
	must(t, exportAll(t.Context(), from, Output{Path: fresh, Format: FormatOCI}))
	must(t, exportAll(t.Context(), another, Output{Path: foreign, Format: FormatOCI}))
	want := layout(t, fresh)
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	change := func(change func(old []byte) []byte) func(dir, blob string) {
		return func(_, blob string) {
			old, err := os.ReadFile(blob)
			must(t, err)
			must(t, os.WriteFile(blob, change(old), 0o644))
		}
	}
	replace := func(put func(blob string) error) func(dir, blob string) {
		return func(_, blob string) { must(t, errors.Join(os.Remove(blob), put(blob))) }
	}
	for name, spoil := range map[string]func(dir, blob string){
		"complete":      func(_, _ string) {},
		"empty":         func(dir, _ string) { must(t, os.RemoveAll(filepath.Join(dir, "blobs"))) },
		"another image": func(dir, _ string) { must(t, errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(foreign)))) },
		"other files":   func(dir, _ string) { must(t, os.CopyFS(filepath.Join(dir, "more"), os.DirFS(foreign))) },
		"open to all":   func(dir, _ string) { must(t, os.Chmod(dir, 0o777)) },
		"a file":        func(dir, _ string) { must(t, errors.Join(os.RemoveAll(dir), os.WriteFile(dir, []byte("x"), 0o600))) },
		"linked directory": func(dir, _ string) {
			must(t, errors.Join(os.RemoveAll(dir+"/blobs"), os.Symlink(foreign+"/blobs", dir+"/blobs")))
		},
		"cut short":  change(func(old []byte) []byte { return old[:len(old)/2] }),
		"empty blob": change(func([]byte) []byte { return nil }),
		"too long":   change(func(old []byte) []byte { return append(old, 0) }),
		"torn":       change(func(old []byte) []byte { clear(old[len(old)/3 : len(old)/2]); return old }),
		"open blob":  func(_, blob string) { must(t, os.Chmod(blob, 0o666)) },
		"link":       replace(func(blob string) error { return os.Symlink(secret, blob) }),
		"hard link":  replace(func(blob string) error { return os.Link(secret, blob) }),
		"pipe":       replace(func(blob string) error { return unix.Mkfifo(blob, 0o600) }),
		"directory":  replace(func(blob string) error { return os.MkdirAll(filepath.Join(blob, "in"), 0o755) }),
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, ".bundle.partial")
			must(t, os.CopyFS(dir, os.DirFS(fresh)))
			spoil(dir, filepath.Join(dir, largest(t, fresh)))
			must(t, exportAll(t.Context(), from, Output{Path: filepath.Join(parent, "bundle"), Format: FormatOCI}))
			wantLayout(t, parent, want)
			if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
				t.Errorf("a file elsewhere has %q, %v", got, err)
			}
		})
	}
	if got := layout(t, filepath.Dir(foreign)); len(got) != len(layout(t, foreign))+1 {
		t.Errorf("files elsewhere were removed: left are %d", len(got))
	}
}

// largest returns the path of the largest file in a directory.
func largest(t testing.TB, dir string) (name string) {
	t.Helper()
	var size int64
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		if info, err := e.Info(); err == nil && e.Type().IsRegular() && info.Size() > size {
			name, size = path, info.Size()
		}
		return nil
	}))
	return name
}

// Complete blobs of an unfinished directory are not written again. Of a blob cut short, only the rest is written.
func TestResumedExportWritesTheRest(t *testing.T) {
	from := twoLayers(t, 1)
	fresh := filepath.Join(t.TempDir(), "bundle")
	must(t, exportAll(t.Context(), from, Output{Path: fresh, Format: FormatOCI}))
	const piece = 256 << 10
	for kept, want := range map[int64]int{-1: 0, 2 * piece: 1, piece + 1: 2, 0: 3} {
		parent := t.TempDir()
		dir := filepath.Join(parent, ".bundle.partial")
		must(t, os.CopyFS(dir, os.DirFS(fresh)))
		blob := largest(t, fresh)
		if kept >= 0 {
			must(t, os.Truncate(filepath.Join(dir, blob), kept))
		}
		cmd, log := job(t, "export", from, filepath.Join(parent, "bundle"))
		writes := 0
		w := calls.Start(t, cmd, func(c calls.Call) calls.Verdict {
			if c.Below(parent) {
				writes++
			}
			return calls.Continue
		}, "pwrite64")
		if err := w.Wait(); err != nil || writes != want {
			t.Errorf("%d bytes kept: %d pieces of blobs were written, want %d: %v, %s", kept, writes, want, err, log)
		}
	}
}

// An interrupted export to a directory keeps what it wrote and says so.
func TestInterruptedDirectoryIsKept(t *testing.T) {
	from, parent := twoLayers(t, 1), t.TempDir()
	o := Output{Path: filepath.Join(parent, "bundle"), Format: FormatOCI}
	c := cache.Open(from)
	ids, err := c.Images()
	must(t, err)
	b, err := New(c, []Wanted{{ID: ids[0]}}, nil)
	must(t, err)
	defer b.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	b.content.Told = func(digest.Digest, int64) { cancel(why) }
	err = b.write(ctx, o)
	path := filepath.Join(parent, ".bundle.partial")
	if text := hint.Of(err).Flag; !errors.Is(err, why) || !strings.HasSuffix(text, " are kept in "+path+": run it again to continue") {
		t.Errorf("got %v, %q", err, text)
	}
	if _, err := os.Stat(o.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unfinished bundle has its name: %v", err)
	}
	must(t, exportAll(t.Context(), from, o))
	fresh := filepath.Join(t.TempDir(), "bundle")
	must(t, exportAll(t.Context(), from, Output{Path: fresh, Format: FormatOCI}))
	wantLayout(t, parent, layout(t, fresh))
}
