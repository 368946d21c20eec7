package storage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/layer"
)

// stored returns an archive as the library restores it from a storage, and its tar-split data.
func stored(t testing.TB, archive []byte) (out, tarSplit []byte) {
	t.Helper()
	var kept, back bytes.Buffer
	z := gzip.NewWriter(&kept)
	in, err := asm.NewInputTarStream(bytes.NewReader(archive), tarsplit.NewJSONPacker(z), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	files := tarsplit.NewBufferFileGetPutter()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			_, _, err = files.Put(h.Name, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	z2, err := gzip.NewReader(bytes.NewReader(kept.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := asm.WriteOutputTarStream(files, tarsplit.NewJSONUnpacker(z2), &back); err != nil {
		t.Fatal(err)
	}
	return back.Bytes(), kept.Bytes()
}

// sparseOf returns a reader of a layer with this tar-split data, which may be nil.
func sparseOf(archive, tarSplit []byte) *sparseReader {
	return newSparseReader(io.NopCloser(bytes.NewReader(archive)), func() (io.ReadCloser, error) {
		if tarSplit == nil {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(tarSplit)), nil
	})
}

// rawHeader returns one header block.
func rawHeader(t testing.TB, kind byte, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o640, Uid: 5, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	block := b.Bytes()
	block[156] = kind
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

func padded(b []byte) []byte { return append(b, make([]byte, padding(int64(len(b))))...) }

// sparse10 returns a file in GNU tar's sparse format 1.0 with data at the offsets, without the end of an archive.
func sparse10(t testing.TB, name string, size int64, data map[int64]string) []byte {
	t.Helper()
	offsets := make([]int64, 0, len(data))
	for at := range data {
		offsets = append(offsets, at)
	}
	slices.Sort(offsets)
	holes := fmt.Sprintf("%d\n", len(data))
	var content string
	for _, at := range offsets {
		holes += fmt.Sprintf("%d\n%d\n", at, len(data[at]))
		content += data[at]
	}
	body := append(padded([]byte(holes)), content...)
	var records string
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, "GNU.sparse.realsize=" + strconv.FormatInt(size, 10), "SCHILY.xattr.user.x=y", "SCHILY.xattr.user.%25=z"} {
		n := len(r) + 4 // of two digits
		records += fmt.Sprintf("%d %s\n", n, r)
	}
	out := append(rawHeader(t, 'x', "x", int64(len(records))), padded([]byte(records))...)
	return append(append(out, rawHeader(t, '0', "GNUSparseFile.0/"+name, int64(len(body)))...), padded(body)...)
}

func plainFile(t testing.TB, name, content string) []byte {
	t.Helper()
	return append(rawHeader(t, '0', name, int64(len(content))), padded([]byte(content))...)
}

func fixture(t testing.TB, version string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "deploy", "testdata", "sparse-"+version+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestArchivesWithHolesComeBack restores archives in all formats but 1.0, whose maps the library loses, and archives without holes.
// Format 1.0 is restored if the map was kept.
func TestArchivesWithHolesComeBack(t *testing.T) {
	end := make([]byte, 1024)
	for name, archive := range map[string][]byte{
		"old": fixture(t, "old"), "0.0": fixture(t, "0.0"), "0.1": fixture(t, "0.1"),
		"after a file": append(plainFile(t, "a", strings.Repeat("x", 70_000)), fixture(t, "old")...),
		"plain":        slices.Concat(plainFile(t, "a", ""), plainFile(t, "b", "content"), end, end),
		"no end":       plainFile(t, "a", "content"), "empty": {},
	} {
		back, tarSplit := stored(t, archive)
		for _, in := range []*sparseReader{sparseOf(back, tarSplit), sparseOf(back, nil)} {
			if err := iotest.TestReader(in, archive); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// entries returns the headers and contents of an archive, without sparse fields.
func entries(t testing.TB, archive io.Reader) (all []string) {
	t.Helper()
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(r)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(h.Name, h.Mode, h.Uid, h.Size, h.ModTime.UTC(), h.PAXRecords["SCHILY.xattr.user.x"], string(content)))
	}
}

// TestLostMaps has files of format 1.0: they are an error, or are returned with their holes if the caller allows it. Contents that
// look like a map make no difference.
func TestLostMaps(t *testing.T) {
	archive := slices.Concat(
		plainFile(t, "before", "x"),
		sparse10(t, "s1", 100_001, map[int64]string{7: "seven", 99_000: strings.Repeat("z", 600)}),
		sparse10(t, "s2", 2000, map[int64]string{0: "1\n0\n9\n" + strings.Repeat("\x00", 600)}),
		plainFile(t, "between", strings.Repeat("y", 513)),
		sparse10(t, "s3", 1<<20, nil),
		plainFile(t, "after", "x"), make([]byte, 1024))
	for name, c := range map[string]struct {
		archive []byte
		files   int
	}{"many": {archive, 3}, "of GNU tar": {fixture(t, "1.0"), 1}} {
		back, tarSplit := stored(t, c.archive)
		if _, err := io.ReadAll(sparseOf(back, tarSplit)); err == nil || !strings.Contains(err.Error(), "sparse format 1.0, whose map a containers storage does not keep") || hint.Of(err) == (hint.Hint{}) {
			t.Errorf("%s: error %v", name, err)
		}
		var rewritten []string
		in := sparseOf(back, tarSplit)
		in.Expand(func(name string) { rewritten = append(rewritten, name) })
		expanded, err := io.ReadAll(iotest.OneByteReader(in))
		if err != nil {
			t.Fatal(err)
		}
		got, want := entries(t, bytes.NewReader(expanded)), entries(t, bytes.NewReader(c.archive))
		if !slices.Equal(got, want) || len(rewritten) != c.files {
			t.Errorf("%s: %d entries, want %d; rewritten: %q", name, len(got), len(want), rewritten)
		}
		for r := layer.NewReader(bytes.NewReader(expanded), layer.NewTally(layer.Limits{})); name == "many"; {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(rewritten, e.Name) && e.Xattrs["user.%"] != "z" {
				t.Errorf("%s: attributes %q, want user.%%, which GNU tar codes", e.Name, e.Xattrs)
			}
		}
	}
}

// TestArchivesThatAreNone checks that invalid archives are returned unchanged, or end in an error.
func TestArchivesThatAreNone(t *testing.T) {
	none := []byte(strings.Repeat("no archive ", 1000))
	if got, err := io.ReadAll(sparseOf(none, nil)); err != nil || !bytes.Equal(got, none) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	back, tarSplit := stored(t, fixture(t, "old"))
	if _, err := io.ReadAll(sparseOf(back[:5000], tarSplit)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := io.ReadAll(sparseOf(none, []byte("no gzip"))); err == nil {
		t.Error("not tar-split data: no error")
	}
}

// FuzzSparse reads arbitrary bytes as the library's output.
func FuzzSparse(f *testing.F) {
	for _, version := range []string{"old", "0.0", "0.1", "1.0"} {
		back, tarSplit := stored(f, fixture(f, version))
		f.Add(back, tarSplit)
	}
	f.Fuzz(func(_ *testing.T, archive, tarSplit []byte) {
		in := sparseOf(archive, tarSplit)
		in.Expand(func(string) {})
		_, _ = io.Copy(io.Discard, io.LimitReader(in, 10<<20))
	})
}
