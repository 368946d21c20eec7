package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/resolve"
	"osbuild-containers/test/calls"
	"osbuild-containers/test/images"
)

// job starts a process that runs a job of this package.
func job(t *testing.T, what, dir, path string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.Env = append(os.Environ(), jobVariable+"="+string(toJSON([]string{what, dir, path})))
	return cmd, &log
}

// killed runs a job repeatedly, killing it before one changing system call below the directory after the other, and calls look
// each time. It returns when the job completes.
func killed(t *testing.T, below string, run func() (*exec.Cmd, *bytes.Buffer), look func(t *testing.T)) {
	t.Helper()
	const stride = 3
	for n := 1 + rand.IntN(stride); ; n += stride {
		cmd, log := run()
		at, seen := "", 0
		w := calls.Start(t, cmd, func(c calls.Call) calls.Verdict {
			if !c.Below(below) {
				return calls.Continue
			}
			if seen++; seen != n {
				return calls.Continue
			}
			at = c.String()
			return calls.Kill
		}, append([]string{"pwrite64"}, calls.Changing...)...)
		err := w.Wait()
		if at == "" {
			if err != nil || n < 10 {
				t.Fatalf("it ended after %d calls with %v: %s", seen, err, log)
			}
			t.Logf("%d calls", seen)
			return
		}
		if look(t); t.Failed() {
			t.Fatalf("killed at call %d, %s", n, at)
		}
	}
}

// An import killed at any system call leaves a complete image or none. The next import completes it, without leftovers of the
// first.
func TestImportKilledAtEachCall(t *testing.T) {
	img := images.New(images.Layer(300_000), images.Layer(2000))
	list := images.NewList(images.Of(img, images.New(images.Arch("arm64"))))
	path := write(t, layoutOf([]map[string]any{entry(list.Raw, v1.MediaTypeImageIndex, "example.com/app:1")}, append(blobsOf(img), list.Raw)...)...)
	parent, dir, runs := t.TempDir(), "", 0
	killed(t, parent, func() (*exec.Cmd, *bytes.Buffer) {
		runs++
		dir = filepath.Join(parent, fmt.Sprint(runs))
		return job(t, "import", dir, path)
	}, func(t *testing.T) {
		ids, err := cache.Open(dir).Images()
		must(t, err)
		for _, id := range ids {
			wantImage(t, dir, id)
		}
		for _, r := range bring(t, dir, path).Results {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}
		if !bytes.Equal(wantImage(t, dir, img.ID), img.Raw) {
			t.Error("the manifest is another one")
		}
		left, err := filepath.Glob(filepath.Join(dir, "org.osbuild.containers", ".pool", "[ps]*", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	})
}

// An export to a directory killed at any system call leaves nothing under its name. The next export to the same place continues
// it, and writes the same bytes as a new one, without leftovers.
func TestExportKilledAtEachCall(t *testing.T) {
	img := images.New(images.Layer(300_000), images.Layer(2000))
	from := t.TempDir()
	bring(t, from, write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...))
	fresh := filepath.Join(t.TempDir(), "bundle")
	must(t, exportAll(t.Context(), from, Output{Path: fresh, Format: FormatOCI}))
	want := layout(t, fresh)
	parent := t.TempDir()
	out := Output{Path: filepath.Join(parent, "bundle"), Format: FormatOCI}
	killed(t, parent, func() (*exec.Cmd, *bytes.Buffer) {
		return job(t, "export", from, out.Path)
	}, func(t *testing.T) {
		if _, err := os.Stat(out.Path); err == nil { // killed after the rename
			wantLayout(t, parent, want)
			must(t, os.RemoveAll(out.Path))
		}
		must(t, out.Check())
		must(t, exportAll(t.Context(), from, out))
		wantLayout(t, parent, want)
		must(t, os.RemoveAll(out.Path))
	})
}

// Data copied by a killed import is reused if it is correct, and otherwise copied again.
func TestImportResumes(t *testing.T) {
	img := images.New(images.Layer(3_000_000))
	layer := img.Layers[0]
	path := write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...)
	wrong := bytes.Clone(layer.Blob[:1_000_000])
	wrong[5] ^= 1
	for name, c := range map[string]struct {
		begun []byte
		want  int64
	}{
		"right": {layer.Blob[:1_000_000], layer.Size - 1_000_000},
		"all":   {layer.Blob, 0},
		"wrong": {wrong, layer.Size},
		"long":  {append(bytes.Clone(layer.Blob), 0), layer.Size},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			partial := filepath.Join(dir, "org.osbuild.containers", ".pool", "partial")
			must(t, os.MkdirAll(partial, 0o755))
			must(t, os.WriteFile(filepath.Join(partial, layer.Digest.Encoded()), c.begun, 0o644))
			r := only(t, bring(t, dir, path))
			if got := r.Bytes - int64(len(img.Config)); r.State != Added || got != c.want {
				t.Errorf("%d bytes of the layer were copied, want %d: %v", got, c.want, r.Err)
			}
			wantImage(t, dir, img.ID)
		})
	}
}

// A directory that another process is writing is left alone.
func TestTwoExportsToOnePlace(t *testing.T) {
	parent := t.TempDir()
	place, err := resolve.Target(filepath.Join(parent, "bundle"))
	must(t, err)
	defer place.Close()
	dir, err := partialDir(place)
	must(t, err)
	defer dir.Close()
	err = exportAll(t.Context(), t.TempDir(), Output{Path: filepath.Join(parent, "bundle"), Format: FormatOCI})
	if err == nil || !strings.Contains(err.Error(), "another process is writing") {
		t.Error(err)
	}
	if _, err := os.Stat(dir.Name()); err != nil {
		t.Error(err)
	}
}

// Damaged blobs of a cache do not get into a bundle, and that bundle does not get its name.
func TestExportVerifies(t *testing.T) {
	img := images.New(images.Layer(100_000))
	from := t.TempDir()
	bring(t, from, write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...))
	f, err := os.OpenFile(filepath.Join(cache.Open(from).ImagePath(img.ID), img.Layers[0].Digest.Encoded()), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("damage"), 50_000)
	must(t, err)
	must(t, f.Close())
	for _, o := range []Output{{Format: FormatOCI}, {Format: FormatArchive}, {Format: FormatArchive, Compression: CompressionZstd}} {
		parent := t.TempDir()
		o.Path = filepath.Join(parent, "bundle")
		err := exportAll(t.Context(), from, o)
		if err == nil || !strings.Contains(err.Error(), "blob has digest sha256:") || !strings.Contains(err.Error(), img.Layers[0].Digest.String()) {
			t.Errorf("%+v: %v", o, err)
		}
		entries, err := os.ReadDir(parent)
		must(t, err)
		if len(entries) > 0 && (o.Format == FormatOCI || len(entries) > 1 || entries[0].Name() != ".bundle.partial") {
			t.Errorf("%+v: left are %v", o, entries)
		}
	}
}

// eachBlob counts a repeated layer once.
func TestBlobsAreNumbered(t *testing.T) {
	layer := images.New(images.Layer(10)).Layers[0]
	img := images.New(images.Use(layer), images.Use(layer), images.Layer(20))
	m, err := manifest.Parse(img.Raw)
	must(t, err)
	var got []int
	eachBlob(m, func(_ manifest.Descriptor, _ string, number int) { got = append(got, number) })
	if len(got) != 3 || got[0] != 0 || got[1] != 1 || got[2] != 3 {
		t.Errorf("%v", got)
	}
}

// An interrupted export says so, and leaves nothing under its name.
func TestInterrupted(t *testing.T) {
	img := images.New(images.Layer(1000))
	path := write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...)
	from, into := t.TempDir(), t.TempDir()
	bring(t, from, path)
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	done, err := Import(ctx, cache.Open(into), path, ImportOptions{}, nil)
	must(t, err)
	if r := only(t, done); r.State != Failed || !errors.Is(r.Err, why) {
		t.Errorf("%+v", r)
	}
	if ids, err := cache.Open(into).Images(); err != nil || len(ids) > 0 {
		t.Errorf("published are %v, %v", ids, err)
	}
	for _, o := range []Output{{Format: FormatOCI}, {Format: FormatArchive}, {Format: FormatArchive, Compression: CompressionZstd}} {
		parent := t.TempDir()
		o.Path = filepath.Join(parent, "bundle")
		if err := exportAll(ctx, from, o); !errors.Is(err, why) {
			t.Errorf("%+v: %v", o, err)
		}
		entries, err := os.ReadDir(parent)
		must(t, err)
		if len(entries) > 0 && (len(entries) > 1 || entries[0].Name() != ".bundle.partial") {
			t.Errorf("%+v: left are %v", o, entries)
		}
	}
}
