package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/progress"
)

// A layer that is not what it should be fails, and the error says which one it is.
func TestDamagedLayerIsNamed(t *testing.T) {
	good := layerOf(t, file("good"))
	body := strings.Repeat("some text ", 100000)
	plain := archive(t, file("big", body), file("last", "x"))
	data := func(l Layer) []byte {
		r, err := l.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	whole := zipped(t, plain)
	bad := func(b []byte) Layer {
		l := whole
		l.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		return l
	}
	flipped := bytes.Clone(data(whole))
	flipped[len(flipped)/2] ^= 4
	other := layerOf(t, file("other"))
	otherArchive := other
	otherArchive.DiffID = digest.FromString("another")
	extra := zipped(t, append(bytes.Clone(plain), "extra"...))
	trailing := append(data(whole), "trailing"...)
	for name, c := range map[string]struct {
		layer Layer
		want  string
	}{
		"truncated":                        {bad(data(whole)[:whole.Size-9]), fmt.Sprintf("blob has size %d bytes, want %d bytes", whole.Size-9, whole.Size)},
		"too long":                         {bad(append(data(whole), 0)), fmt.Sprintf("blob has size more than %d bytes, want %d bytes", whole.Size, whole.Size)},
		"a bit":                            {bad(flipped), "blob has digest sha256:"},
		"another archive":                  {otherArchive, "archive has digest " + other.DiffID.String() + ", want " + otherArchive.DiffID.String()},
		"more after the archive":           {extra, "there is data after the end of the archive"},
		"more after the compressed data":   {blob(trailing, plain), "gzip: bad header, or something else after the compressed data"},
		"an archive that ends in an entry": {zipped(t, plain[:2000]), "the archive ends in the middle of an entry"},
		"no archive":                       {zipped(t, bytes.Repeat([]byte("no archive "), 100)), "invalid tar header"},
		"not to be opened":                 {Layer{Digest: whole.Digest, Open: func() (io.ReadCloser, error) { return nil, errors.New("gone") }}, "gone"},
		"xz":                               {blob([]byte("\xfd7zXZ\x00 and so on"), nil), "compressed with xz"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newPlace(t).deploy(t, Options{}, good, c.layer, good)
			want := fmt.Sprintf("layer 2/3 %s: ", c.layer.Digest)
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant  %s … %s", err, want, c.want)
			}
		})
	}
}

// Of a greater number the kernel would take the lower bits: 4097:3 would be /dev/null.
func TestNumbersOfDevicesFit(t *testing.T) {
	for _, number := range [][2]int64{{4097, 3}, {1, 1 << 20}, {-1, 0}} {
		l := layerOf(t, item{Header: tar.Header{Typeflag: tar.TypeChar, Name: "n", Devmajor: number[0], Devminor: number[1]}})
		if _, err := newPlace(t).deploy(t, Options{}, l); err == nil || !strings.Contains(err.Error(), `"n": `) {
			t.Errorf("%v: error %v", number, err)
		}
	}
}

func TestLimits(t *testing.T) {
	zeros := layerOf(t, file("a", strings.Repeat("\x00", 1<<20)))
	long := strings.Repeat("n/", 2048) + "n"
	var attributes, hidden, targets []item // of what is not written
	for i := range 45 {
		attributes = append(attributes, xattr(directory(fmt.Sprint("no/", i)), "user.x", strings.Repeat("x", 60<<10)))
	}
	for i := range 60 {
		hidden = append(hidden, symlink(fmt.Sprint("no/", i, "/a/l"), "x"))
	}
	for i := range 600 {
		targets = append(targets, symlink(fmt.Sprint("no/", i), strings.Repeat("x", 4000)))
	}
	for name, c := range map[string]struct {
		limits Limits
		layer  Layer
		want   string
	}{
		"entries":     {Limits{Entries: 2}, layerOf(t, file("a"), file("b"), file("c")), "entries and directories in the image: more than the limit of 2"},
		"bytes":       {Limits{LayerBytes: 1 << 20}, layerOf(t, file("a", strings.Repeat("\x00", 1<<20)), file("b", "1")), "bytes in the layer's"},
		"declared":    {Limits{LayerBytes: 1000}, zeros, `"a": bytes in the layer's files: more than the limit of 1000`},
		"depth":       {Limits{Depth: 3}, layerOf(t, file("a/b/c"), file("a/b/c/d")), "components in a path: more than the limit of 3"},
		"links":       {Limits{Depth: 3}, layerOf(t, symlink("l", "a/b/c"), file("l/d")), "components in a path: more than the limit of 3"},
		"far":         {Limits{Depth: 5000}, layerOf(t, symlink("l", long[1000:]), symlink("l/l", long[1000:]), file("l/l/l")), "bytes in a name: more than the limit of 4095"},
		"directories": {Limits{Entries: 100}, layerOf(t, file(long[:200]+"/.wh.x"), file("x/"+long[:20]+"/.wh.x")), "entries and directories in the image: more than the limit of 100"},
		"hidden":      {Limits{Entries: 100}, layerOf(t, hidden...), "in the image: more than the limit of 100"},
		"name":        {Limits{Depth: 5000}, layerOf(t, file(long)), "bytes in a path: more than the limit of 4095"},
		"target":      {Limits{}, layerOf(t, symlink("a", long)), "bytes in a link's target: more than the limit of 4095"},
		"attributes":  {Limits{Entries: 100}, layerOf(t, attributes...), "bytes to remember of the paths of the image: more than the limit of 2000000"},
		"targets":     {Limits{Entries: 1000}, layerOf(t, targets...), "bytes to remember of the paths of the image: more than the limit of 2000000"},
	} {
		_, err := newPlace(t).deploy(t, Options{Limits: c.limits, Exclude: []string{"no"}}, c.layer)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.layer.Digest.String()) {
			t.Errorf("%s: error %v, want %s", name, err, c.want)
		}
		if limit := new(layer.LimitError); !errors.As(err, &limit) {
			t.Errorf("%s: %T is not a LimitError", name, err)
		}
	}
}

// A layer that is read a second time is verified a second time, to its end.
func TestALayerThatChangesIsRefused(t *testing.T) {
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	content := func(a string) Layer {
		return layerOf(t, file("a", a), hardlink("b", "a"), file("z", string(noise)))
	}
	low, other := content("good"), content("evil")
	low.Size = -1
	first := low.Open
	low.Open = func() (io.ReadCloser, error) {
		low.Open = other.Open
		return first()
	}
	opened := low
	opened.Open = func() (io.ReadCloser, error) { return low.Open() }
	_, err := newPlace(t).deploy(t, Options{}, opened, layerOf(t, file("a", "new")))
	if err == nil || !strings.Contains(err.Error(), "blob has digest "+other.Digest.String()) {
		t.Errorf("error %v", err)
	}
}

// Directories get their metadata at the end, and the layer that says it is named.
func TestWhatADirectoryCannotHaveIsOfALayer(t *testing.T) {
	bad := layerOf(t, xattr(directory("d"), "security.capability", "none"))
	_, err := newPlace(t).deploy(t, Options{}, layerOf(t, file("a")), bad, layerOf(t, file("d/a")))
	want := fmt.Sprintf(`layer 2/3 %s: directory "d": set attribute "security.capability": `, bad.Digest)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v\nwant  %s…", err, want)
	}
}

// A deployment that is cancelled ends, also while a layer does not come.
func TestCancel(t *testing.T) {
	p := newPlace(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	stuck, w := io.Pipe()
	defer w.Close()
	l := layerOf(t, file("a"))
	l.Open = func() (io.ReadCloser, error) {
		cancel(errors.New("enough"))
		return stuck, nil
	}
	context.AfterFunc(ctx, func() { stuck.Close() })
	done := make(chan error)
	go func() { done <- Deploy(ctx, p.tree, []Layer{l}, Options{}, nil) }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}

// TestEachLayerHasALine also checks the sum, which is the last line.
func TestEachLayerHasALine(t *testing.T) {
	p := newPlace(t)
	log, err := p.deploy(t, Options{}, layerOf(t, file("a"), file("b")), layerOf(t, file("c")))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "layer 2/2 sha256:") || !strings.Contains(lines[1], ": 2.0 kB, 2 entries, ") || !strings.HasSuffix(lines[1], " s") ||
		!strings.HasPrefix(lines[2], "3 entries, 3.6 kB in ") {
		t.Errorf("log %q", lines)
	}
}

// FuzzArchive reads any bytes as a layer.
func FuzzArchive(f *testing.F) {
	f.Add(archive(f, file("a", "1"), directory("d"), symlink("d/l", "../../x"), hardlink("h", "a"), file(".wh.x")))
	f.Add(archive(f, xattr(file("a"), "user.x", "1"), file("../../outside/canary", "x"), symlink("e", "/"), file("e/x", "1")))
	for _, name := range []string{"sparse-old.tar", "sparse-0.0.tar", "sparse-0.1.tar", "sparse-1.0.tar"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPlace(t)
		_, _ = p.deploy(t, Options{Limits: Limits{LayerBytes: 1 << 20, Entries: 100}}, blob(data, data))
	})
}

// Holes are holes, in all four ways that tar has to say so.
func TestHolesAreKept(t *testing.T) {
	for _, name := range []string{"sparse-old.tar", "sparse-0.0.tar", "sparse-0.1.tar", "sparse-1.0.tar"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		p := newPlace(t)
		if err := Deploy(t.Context(), p.tree, []Layer{blob(b, b)}, Options{}, progress.NewLog(io.Discard)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := os.ReadFile(filepath.Join(p.tree, "holes"))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 900000)
		copy(want[400000:], "middle")
		copy(want[899997:], "end")
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes that are not those that went in", name, len(got))
		}
		if blocks := onDisk(t, filepath.Join(p.tree, "holes")); blocks > 64 {
			t.Errorf("%s: %d blocks on disk, want a few", name, blocks)
		}
	}
}
