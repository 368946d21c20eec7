package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// pass reads an archive as an unpacker does, and returns what was passed on.
func pass(archive []byte, limits Limits) (passed []byte, entries []*Entry, err error) {
	s := Start(context.Background(), Blob{
		Size: -1, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil },
	}, NewBudget(0), NewTally(limits))
	defer s.Close()
	r := s.Pass(func(piece []byte) error { passed = append(passed, piece...); return nil }, nil)
	for {
		e, err := r.Next()
		if err == io.EOF {
			return passed, entries, nil
		}
		if err != nil {
			return passed, entries, err
		}
		entries = append(entries, e)
	}
}

// header returns a header block with a valid checksum.
func header(typeflag byte, name string, size string) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], size)
	copy(b[136:], "00000000000\x00        ")
	b[156] = typeflag
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
	return b
}

// TestEndlessHeaders has headers without an entry, which a reader that keeps headers in memory would accumulate.
func TestEndlessHeaders(t *testing.T) {
	record := []byte("1000 comment=" + strings.Repeat("x", 986) + "\n")
	extended := append(bytes.Repeat(record, 100), make([]byte, 352)...) // a multiple of 512
	for name, one := range map[string][]byte{
		"extended":  append(header('x', "x", "00000303240\x00"), extended...),
		"global":    append(header('g', "g", "00000303240\x00"), extended...),
		"long name": append(header('L', "L", "00000303240\x00"), extended...),
	} {
		archive := bytes.Repeat(one, 100)
		passed, _, err := pass(archive, Limits{})
		if limit := new(LimitError); !errors.As(err, &limit) || limit.What != "bytes in the headers of an entry" {
			t.Errorf("%s: error %v", name, err)
		}
		if len(passed) > maxHeaders+chunkSize {
			t.Errorf("%s: %d bytes were passed on", name, len(passed))
		}
	}
	huge := append(header('x', "x", "00010000000\x00"), bytes.Repeat(record, 2500)...)
	if _, _, err := pass(huge, Limits{}); !errors.As(err, new(*LimitError)) {
		t.Errorf("one of 2 MiB: error %v", err)
	}
}

// TestLimitsOfAnImageHoldForAllItsLayers reads two layers that are within the limits separately but not together.
func TestLimitsOfAnImageHoldForAllItsLayers(t *testing.T) {
	plain := sample(t) // two entries, 3 MiB and 3 bytes
	for what, limits := range map[string]Limits{
		"entries and directories in the image": {Entries: 3},
		"bytes in the ":                        {LayerBytes: 4 << 20, ImageBytes: 5 << 20},
	} {
		image := NewTally(limits)
		var err error
		for n := range 2 {
			s := Start(context.Background(), blobOf(plain, plain), NewBudget(0), image)
			r := s.Entries()
			for err == nil {
				_, err = r.Next()
			}
			s.Close()
			if n == 0 && err != io.EOF {
				t.Errorf("%s: the first layer: error %v", what, err)
			}
			if n == 0 {
				err = nil
			}
		}
		if limit := new(LimitError); !errors.As(err, &limit) || !strings.HasPrefix(limit.What, what) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	image := NewTally(Limits{LayerBytes: 10, ImageBytes: 15})
	if image.file(10) != nil || image.file(5) != nil || image.file(1) == nil || image.file(1<<62) == nil || image.file(0) != nil {
		t.Error("files are not counted together")
	}
}

// FuzzReader checks the limits for arbitrary input, and compares what is passed on with the standard library's reader.
func FuzzReader(f *testing.F) {
	limits := Limits{LayerBytes: 1 << 20, ImageBytes: 1 << 20, Entries: 8, Depth: 5}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir},
		{Name: "d/a", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		{Name: "d/" + strings.Repeat("long", 40), Typeflag: tar.TypeReg, Format: tar.FormatGNU},
		{Name: "l", Linkname: "d/a", Typeflag: tar.TypeLink},
		{Name: "s", Linkname: "d/a", Typeflag: tar.TypeSymlink},
	} {
		_ = w.WriteHeader(&h)
		f.Add(append(bytes.Clone(b.Bytes()), make([]byte, 1024)...))
	}
	sparse := append(header('0', "s", "00000000000\x00"), make([]byte, 1024)...)
	records := "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n26 GNU.sparse.size=100000\n25 GNU.sparse.numblocks=1\n29 GNU.sparse.map=100000,0\n"
	f.Add(append(append(header('x', "x", "00000000200\x00"), append([]byte(records), make([]byte, 512-len(records))...)...), sparse...))
	f.Add(append(header('L', "x", "00000000010\x00"), make([]byte, 512)...))
	f.Add(header('0', "x", "77777777777\x00"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		if len(archive) > 1<<20 {
			t.Skip()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		passed, entries, err := pass(archive, limits)
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 {
			t.Errorf("%d bytes were allocated for an archive of %d", spent, len(archive))
		}
		if !bytes.HasPrefix(archive, passed) {
			t.Fatal("what was passed on is not the archive")
		}
		if err == nil && len(passed) != len(archive) {
			t.Fatalf("%d of %d bytes were passed on", len(passed), len(archive))
		}
		r := tar.NewReader(bytes.NewReader(passed))
		var size, count int64
		for {
			h, e := r.Next()
			if e != nil {
				break
			}
			if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse || h.Typeflag == tar.TypeCont {
				size += h.Size
			}
			count++
			if limits.path(h.Name) != nil || len(h.Linkname) > maxPath {
				t.Fatalf("%q was passed on", h.Name)
			}
		}
		if size > limits.LayerBytes || count > limits.Entries || int64(len(entries)) > limits.Entries {
			t.Fatalf("%d bytes in %d entries were passed on", size, count)
		}
	})
}

// However much of a file's content is read, the following entries and all counts are the same.
func TestContentMayBeReadOrNot(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	body := strings.Repeat("0123456789abcdef!", 40<<10)
	sizes := []int{0, 1, 2, 511, 512, 513, 300 << 10, len(body)}
	for i, size := range sizes {
		h := &tar.Header{Name: fmt.Sprint(i), Size: int64(size), PAXRecords: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", 3000)}}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body[:size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes { // and the same as sparse files
		records := ""
		for _, r := range []string{
			"GNU.sparse.major=0", "GNU.sparse.minor=1", fmt.Sprint("GNU.sparse.size=", size), "GNU.sparse.numblocks=1",
			fmt.Sprintf("GNU.sparse.map=0,%d", size), "comment=" + strings.Repeat("x", 3000),
		} {
			n := len(r) + len(" \n")
			n += len(strconv.Itoa(n + len(strconv.Itoa(n))))
			records += fmt.Sprintf("%d %s\n", n, r)
		}
		for _, part := range []struct {
			typeflag byte
			content  string
		}{{tar.TypeXHeader, records}, {tar.TypeReg, body[:size]}} {
			b.Write(header(part.typeflag, fmt.Sprint(len(sizes)+i), fmt.Sprintf("%011o\x00", len(part.content))))
			b.WriteString(part.content)
			b.Write(make([]byte, -len(part.content)&511))
		}
	}
	sizes = append(sizes, sizes...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all := func(next func(buf []byte) ([]byte, error), most int) (got []byte) {
		buf := make([]byte, 1000)
		for len(got) < most {
			p, err := next(buf[:min(len(buf), most-len(got))])
			got = append(got, p...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Error(err)
				break
			}
		}
		return got
	}
	var counts []Counts
	for name, content := range map[string]func(r *Reader) (got []byte, most int){
		"not at all": func(*Reader) ([]byte, int) { return nil, 0 },
		"one byte": func(r *Reader) ([]byte, int) {
			return all(r.Piece, 1), 1
		},
		"Piece": func(r *Reader) ([]byte, int) { return all(r.Piece, 1<<30), 1 << 30 },
		"Read": func(r *Reader) ([]byte, int) {
			return all(func(buf []byte) ([]byte, error) { n, err := r.Read(buf); return buf[:n], err }, 1<<30), 1 << 30
		},
	} {
		tally := NewTally(Limits{})
		s := Start(t.Context(), Blob{Size: -1, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }}, NewBudget(0), tally)
		r := s.Entries()
		for i, size := range sizes {
			e, err := r.Next()
			if err != nil || e.Name != fmt.Sprint(i) || e.Size != int64(size) {
				t.Fatalf("%s: entry %d is %v, error %v", name, i, e, err)
			}
			if got, most := content(r); string(got) != body[:min(size, most)] {
				t.Errorf("%s: %d bytes of a file of %d", name, len(got), size)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: error %v at the end", name, err)
		}
		counts = append(counts, tally.Counts())
		s.Close()
	}
	for _, c := range counts {
		if c != counts[0] {
			t.Errorf("counted %v, want the same each time", counts)
		}
	}
}
