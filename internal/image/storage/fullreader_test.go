package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"osbuild-containers/test/userns"
)

// TestTarSplitDoesNotDependOnPieces shows that the library's tar-split data is the same, however the archive arrives.
func TestTarSplitDoesNotDependOnPieces(t *testing.T) {
	archive := userns.Archive(t, []*tar.Header{{Typeflag: tar.TypeDir, Name: "a/", Mode: 0o755}, {Typeflag: tar.TypeReg, Name: "a/f", Mode: 0o644}})
	for _, padding := range []int{0, 1, 8 << 10, 3 << 20} {
		var want []byte
		for name, in := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
		} {
			var data bytes.Buffer
			r := in(io.MultiReader(bytes.NewReader(archive), bytes.NewReader(make([]byte, padding))))
			out, err := asm.NewInputTarStream(fullReader{r}, tarsplit.NewJSONPacker(&data), nil)
			if err == nil {
				_, err = io.Copy(io.Discard, out)
			}
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = data.Bytes()
			} else if !bytes.Equal(data.Bytes(), want) {
				t.Errorf("%d bytes of padding, %s: the data differs", padding, name)
			}
		}
	}
}

// TestFullReaderReportsErrors shows that an archive that ends with an error is not taken for a complete one.
func TestFullReaderReportsErrors(t *testing.T) {
	for _, want := range []error{io.ErrClosedPipe, io.ErrUnexpectedEOF} {
		for _, n := range []int{0, 1, 5} {
			r := fullReader{io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(want))}
			if got, err := io.ReadAll(r); len(got) != n || !errors.Is(err, want) {
				t.Errorf("got %d bytes and %v, want %d and %v", len(got), err, n, want)
			}
		}
	}
}
