package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/layer"
)

// Example reads the entries of a layer. Its digests are verified only if the last error is io.EOF.
func Example() {
	archive := new(bytes.Buffer)
	w := tar.NewWriter(archive)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "etc/motd", Mode: 0o644, Size: 6}), write(w, "hello\n"), w.Close()); err != nil {
		fmt.Println(err)
		return
	}
	data := archive.Bytes() // uncompressed: blob and archive are equal
	for _, diffID := range []digest.Digest{digest.FromBytes(data), digest.FromString("")} {
		blob := layer.Blob{
			Digest: digest.FromBytes(data), DiffID: diffID, Size: int64(len(data)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		}
		err := read(blob)
		fmt.Println("mismatch:", errors.As(err, new(*layer.MismatchError)))
	}
	// Output:
	// etc/motd, 6 bytes: "hello\n"
	// mismatch: false
	// etc/motd, 6 bytes: "hello\n"
	// mismatch: true
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func read(blob layer.Blob) error {
	s := layer.Start(context.Background(), blob, layer.NewBudget(1<<20), layer.NewTally(layer.Limits{Entries: 1000}))
	defer s.Close()
	for entries := s.Entries(); ; {
		e, err := entries.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(entries)
		if err != nil {
			return err
		}
		fmt.Printf("%s, %d bytes: %q\n", e.Name, e.Size, content)
	}
}
