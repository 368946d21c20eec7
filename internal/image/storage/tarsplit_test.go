package storage

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/tar/asm"
	tsstorage "github.com/vbatts/tar-split/tar/storage"

	"osbuild-containers/internal/layer"
)

// packed returns an archive of the entries, followed by tail.
func packed(t testing.TB, tail string, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("0123456789"), int(h.Size)/10+1)[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), tail...)
}

func stream(t testing.TB, archive []byte, limits layer.Limits) *layer.Stream {
	t.Helper()
	s := layer.Start(context.Background(), layer.Blob{
		Size: -1, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil },
	}, layer.NewBudget(0), layer.NewTally(limits))
	t.Cleanup(s.Close)
	return s
}

// splitAll writes the tar-split data of an archive and returns what was passed on.
func splitAll(t testing.TB, archive []byte, tarSplit tsstorage.Packer, limits layer.Limits) ([]byte, error) {
	t.Helper()
	var raw, passed bytes.Buffer
	s := stream(t, archive, limits)
	in := s.Pass(func(piece []byte) error { passed.Write(piece); return nil }, &raw)
	err := split(t.Context(), in, &raw, tarSplit, newOwners(s, layer.NewTally(limits), t.TempDir(), false))
	return passed.Bytes(), err
}

// TestTarSplitRestoresTheArchive restores archives from the tar-split data and the contents of files, and compares the data with the
// library's.
func TestTarSplitRestoresTheArchive(t *testing.T) {
	dir := tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}
	file := tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Size: 700_000, Mode: 0o644}
	long := tar.Header{Name: strings.Repeat("d/", 99) + "f", Typeflag: tar.TypeReg, Size: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}
	gnu := tar.Header{Name: strings.Repeat("e/", 99) + "f", Typeflag: tar.TypeReg, Size: 513, Format: tar.FormatGNU}
	link := tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "d/f"}
	raw := tar.Header{Name: "\xff", Typeflag: tar.TypeReg, Format: tar.FormatGNU}
	for name, archive := range map[string][]byte{
		"none":       packed(t, ""),
		"entries":    packed(t, "", dir, file, long, gnu, link, raw),
		"tail":       packed(t, strings.Repeat("\x00", 9000), dir, file),
		"no end":     packed(t, "", dir, file)[:512+512+700_416],
		"no archive": {},
	} {
		t.Run(name, func(t *testing.T) {
			var ours, library bytes.Buffer
			passed, err := splitAll(t, archive, tsstorage.NewJSONPacker(&ours), layer.Limits{})
			if err != nil || !bytes.Equal(passed, archive) {
				t.Fatalf("%d bytes passed on, want %d, error %v", len(passed), len(archive), err)
			}
			in, err := asm.NewInputTarStream(bytes.NewReader(archive), tsstorage.NewJSONPacker(&library), nil)
			if err == nil {
				_, err = io.Copy(io.Discard, in)
			}
			if err != nil {
				t.Fatal(err)
			}
			files := tsstorage.NewBufferFileGetPutter()
			r := tar.NewReader(bytes.NewReader(archive))
			for h, err := r.Next(); err == nil; h, err = r.Next() {
				if _, _, err := files.Put(h.Name, r); err != nil {
					t.Fatal(err)
				}
			}
			for which, tarSplit := range map[string]string{"ours": ours.String(), "the library's": library.String()} {
				var again bytes.Buffer
				if err := asm.WriteOutputTarStream(files, tsstorage.NewJSONUnpacker(strings.NewReader(tarSplit)), &again); err != nil || !bytes.Equal(again.Bytes(), archive) {
					t.Errorf("%s tar-split data gives %d bytes, want %d, error %v", which, again.Len(), len(archive), err)
				}
			}
		})
	}
}

// TestEntriesBeyondLimitsAreNotPassedOn has a small valid entry followed by one beyond the limits.
func TestEntriesBeyondLimitsAreNotPassedOn(t *testing.T) {
	good := tar.Header{Name: "good", Typeflag: tar.TypeReg, Size: 1 << 20, Mode: 0o644}
	deep := tar.Header{Name: strings.Repeat("x/", 100) + "y", Typeflag: tar.TypeReg}
	limits := layer.Limits{LayerBytes: 8 << 20, Entries: 20, Depth: 200}
	for want, archive := range map[string][]byte{
		"bytes after the end of the archive: more than the limit of 1048576":     packed(t, strings.Repeat("\x00", 1<<20+1), good),
		"there is data after the end of the archive":                             packed(t, strings.Repeat("\x00", 1000)+"x", good),
		"entries and directories in the image: more than the limit of 20":        packed(t, "", good, deep),
		`"bad": bytes in the layer's files: more than the limit of 8388608`:      packed(t, "", good, tar.Header{Name: "bad", Typeflag: tar.TypeReg, Size: 8 << 20}),
		"bytes in a component of a path: more than the limit of 259":             packed(t, "", good, tar.Header{Name: strings.Repeat("x", 260)}),
		"bytes in a link's target: more than the limit of 4095":                  packed(t, "", good, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x", 4096)}),
		"bytes in the names and attributes of the image: more than the limit of": packed(t, "", good, attributes("a", 1_000_000), attributes("b", 1_000_000), attributes("c", 1_000_000)),
	} {
		passed, err := splitAll(t, archive, tsstorage.NewJSONPacker(io.Discard), limits)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		if !bytes.HasPrefix(archive, passed) || bytes.Contains(passed, []byte("bad")) {
			t.Errorf("%s: %d bytes were passed on", want, len(passed))
		}
	}
}

func attributes(name string, size int) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", size)}}
}

// TestHeadersKeptInMemoryAreBounded has incompressible headers, for a store that keeps them in memory.
func TestHeadersKeptInMemoryAreBounded(t *testing.T) {
	before := maxHeaders
	defer func() { maxHeaders = before }()
	maxHeaders = 100_000
	random := make([]byte, 60_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	entry := attributes("a", 0)
	entry.PAXRecords = map[string]string{"SCHILY.xattr.user.x": string(bytes.ReplaceAll(random, []byte{0}, []byte{1}))}
	for n, want := range map[int]string{1: "", 4: "compressed bytes in the headers of the layer: more than the limit of 100000"} {
		out, to := io.Pipe()
		go func() { _, _ = io.Copy(io.Discard, out) }()
		s := stream(t, packed(t, "", slices.Repeat([]tar.Header{entry}, n)...), layer.Limits{})
		_, err := new(chain).pass(s, to, newOwners(s, layer.NewTally(layer.Limits{}), t.TempDir(), false))
		to.Close()
		if fmt.Sprint(err) != want && (want != "" || err != nil) {
			t.Errorf("%d entries: error %v, want %q", n, err, want)
		}
	}
}

// TestTarSplitHasNoNameUntilPublished lists the directory before and after.
func TestTarSplitHasNoNameUntilPublished(t *testing.T) {
	dir := t.TempDir()
	n, err := newSplitFile(dir, maxTarSplit)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := io.WriteString(n.zip, "content"); err != nil {
		t.Fatal(err)
	}
	if err := n.finish(); err != nil {
		t.Fatal(err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 0 {
		t.Errorf("there is %v", all)
	}
	for i, publish := range []func(string) error{n.publish, n.copy} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if i == 0 {
			if err := os.WriteFile(path, []byte("of one that was killed"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := publish(path); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if info, err := file.Stat(); err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		z, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); string(got) != "content" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, err := (&bounded{io.Discard, 10, 10}).Write(make([]byte, 11)); err == nil || !strings.Contains(err.Error(), "more than the limit of") {
		t.Errorf("beyond the limit: %v", err)
	}
}
