package ocilayout

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// Waiting for a stream ends with the context.
func TestReadTreeIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		_, _ = w.Write([]byte("begin"))
		cancel()
	}()
	if _, err := ReadTree(ctx, "standard input", r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A truncated archive is reported as such, whatever its compression.
func TestCutOffXz(t *testing.T) {
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("0123456789abcdef"), 1000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.tar.xz")
	if err := os.WriteFile(name, packed.Bytes()[:packed.Len()-20], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTree(context.Background(), name); err == nil || !strings.Contains(err.Error(), "the archive is cut off") {
		t.Errorf("got %v", err)
	}
}

// A panic of a stream's reader, possible in libraries, is an error.
func TestSpoolPanic(t *testing.T) {
	if f, err := spool(t.Context(), func() (io.ReadCloser, error) { panic("oh") }); err == nil || !strings.Contains(err.Error(), "internal error: oh") {
		t.Errorf("got %v, %v", f, err)
	}
}
