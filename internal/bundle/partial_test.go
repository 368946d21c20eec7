package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/test/images"
)

// twoLayers returns a cache with an image larger than what is copied at once.
func twoLayers(t testing.TB, seed uint64) string {
	t.Helper()
	img := images.New(images.Layer(700_000), images.Layer(3001), images.Seed(seed))
	dir := t.TempDir()
	bring(t, dir, write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...))
	return dir
}

// Whatever an interrupted export left, the next one writes the same bytes as a new one.
func TestExportResumesPartialFile(t *testing.T) {
	from, another := twoLayers(t, 1), twoLayers(t, 2)
	for _, compression := range []string{"", CompressionGzip, CompressionZstd} {
		dir := t.TempDir()
		o := Output{Path: filepath.Join(dir, "x.tar"), Format: FormatArchive, Compression: compression}
		must(t, exportAll(t.Context(), from, o))
		want, err := os.ReadFile(o.Path)
		must(t, err)
		other := Output{Path: filepath.Join(dir, "other.tar"), Format: FormatArchive, Compression: compression}
		must(t, exportAll(t.Context(), another, other))
		foreign, err := os.ReadFile(other.Path)
		must(t, err)
		must(t, os.Remove(other.Path))
		torn := bytes.Clone(want)
		clear(torn[len(torn)/3 : len(torn)/2])
		for name, kept := range map[string][]byte{
			"all": want, "half": want[:len(want)/2], "one byte": want[:1], "torn": torn, "of another image": foreign,
			"too long": append(bytes.Clone(want), foreign...), "noise": bytes.Repeat([]byte{0xa5}, 2*len(want)), "nothing": nil,
		} {
			must(t, os.Remove(o.Path))
			must(t, os.WriteFile(filepath.Join(dir, ".x.tar.partial"), kept, 0o600))
			must(t, exportAll(t.Context(), from, o))
			got, err := os.ReadFile(o.Path)
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("%q, %s: got other bytes", compression, name)
			}
			fi, err := os.Stat(o.Path)
			must(t, err)
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || fi.Mode() != 0o644 {
				t.Errorf("%q, %s: left are %v, %v, mode %s", compression, name, left, err, fi.Mode())
			}
		}
	}
}

// An interrupted export keeps its partial file and says so; an existing bundle stays until the next export completes.
func TestInterruptedExportIsKept(t *testing.T) {
	from, dir := twoLayers(t, 1), t.TempDir()
	o := Output{Path: filepath.Join(dir, "x.tar"), Format: FormatArchive}
	must(t, os.WriteFile(o.Path, []byte("old"), 0o644))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	c := cache.Open(from)
	ids, err := c.Images()
	must(t, err)
	b, err := New(c, []Wanted{{ID: ids[0]}}, nil)
	must(t, err)
	defer b.Close()
	err = b.Write(ctx, o, progress.NewLog(cancelling{func() { cancel(why) }}))
	path := filepath.Join(dir, ".x.tar.partial")
	if text := hint.Of(err).Flag; !errors.Is(err, why) || !strings.HasSuffix(text, " are kept in "+path+": run it again to continue") {
		t.Errorf("got %v, %q", err, text)
	}
	if got, err := os.ReadFile(o.Path); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v", got, err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode() != 0o600 {
		t.Errorf("got %v, %v", fi, err)
	}
	must(t, exportAll(t.Context(), from, o))
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// cancelling is a writer that calls a function at the first line.
type cancelling struct{ cancel func() }

func (c cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return len(p), nil
}

// A partial file that belongs to another user, or is in use, is left alone.
func TestPartialFilesThatAreNotTrusted(t *testing.T) {
	from := twoLayers(t, 1)
	plain := func(path string, mode os.FileMode) {
		must(t, os.WriteFile(path, []byte("precious"), 0o600))
		must(t, os.Chmod(path, mode))
	}
	for name, put := range map[string]func(path, precious string) string{
		"link":        func(path, precious string) string { must(t, os.Symlink(precious, path)); return precious },
		"hard link":   func(path, precious string) string { must(t, os.Link(precious, path)); return precious },
		"open to all": func(path, _ string) string { plain(path, 0o666); return path },
		"in use": func(path, _ string) string {
			plain(path, 0o600)
			f, err := os.Open(path)
			must(t, err)
			must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
			t.Cleanup(func() { f.Close() })
			return path
		},
		"pipe":      func(path, precious string) string { must(t, unix.Mkfifo(path, 0o600)); return precious },
		"directory": func(path, precious string) string { must(t, os.Mkdir(path, 0o755)); return precious },
	} {
		dir := t.TempDir()
		precious := filepath.Join(t.TempDir(), "precious")
		plain(precious, 0o600)
		untouched := put(filepath.Join(dir, ".x.tar.partial"), precious)
		o := Output{Path: filepath.Join(dir, "x.tar"), Format: FormatArchive}
		if err := exportAll(t.Context(), from, o); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(untouched); err != nil || string(got) != "precious" {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		bring(t, t.TempDir(), o.Path)
	}
}

// An interrupted import counts exactly what it keeps in the cache, whenever it is interrupted.
func TestInterruptedImportCountsWhatIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tar")
	must(t, exportAll(t.Context(), twoLayers(t, 1), Output{Path: path, Format: FormatArchive}))
	for _, line := range []string{": import of image ", ": done"} {
		ctx, cancel := context.WithCancel(t.Context())
		c := cache.Open(t.TempDir())
		done, err := Import(ctx, c, path, ImportOptions{}, progress.NewLog(cancellingAt{line, cancel}))
		must(t, err)
		if ctx.Err() == nil {
			t.Fatalf("no line of the log has %q", line)
		}
		cancel()
		var kept int64
		for _, list := range []func() ([]cache.Stored, error){c.Pooled, c.Partial} {
			blobs, err := list()
			must(t, err)
			for _, b := range blobs {
				kept += b.Size
			}
		}
		if got := done.Results[0].Bytes; got != kept || line == ": done" && got == 0 {
			t.Errorf("interrupted at %q: %d bytes are counted, and %d are kept", line, got, kept)
		}
	}
}

// cancellingAt is a writer that calls cancel when a line has a text.
type cancellingAt struct {
	text   string
	cancel func()
}

func (c cancellingAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.text)) {
		c.cancel()
	}
	return len(p), nil
}
