package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/layers"
)

// sample returns an archive of a few MB that compresses by half.
func sample(t testing.TB) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(rnd.Uint32()) & 15
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{{Name: "a", Size: int64(len(body))}, {Name: "b", Size: 3}} {
		h.Typeflag, h.Mode = tar.TypeReg, 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func zstdd(t testing.TB, data []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// skippable returns a zstd frame without content, as at the end of zstd:chunked.
func skippable(data string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, uint32(len(data)))
	return append(b, data...)
}

func blobOf(data, plain []byte) Blob {
	return Blob{
		Digest: digest.FromBytes(data), DiffID: digest.FromBytes(plain), Size: int64(len(data)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

func read(t testing.TB, b Blob, budget int64, limits Limits) ([]byte, error) {
	t.Helper()
	s := Start(context.Background(), b, NewBudget(budget), NewTally(limits))
	defer s.Close()
	return io.ReadAll(s)
}

func TestEveryCompression(t *testing.T) {
	plain := sample(t)
	half := len(plain) / 2
	chunked := append(skippable("first"), zstdd(t, plain[:half])...)
	chunked = append(append(chunked, zstdd(t, plain[half:])...), skippable("the table of contents")...)
	for name, data := range map[string][]byte{
		"none":                 plain,
		"gzip":                 gzipped(t, plain),
		"gzip in many members": gzipped(t, plain[:5], plain[5:half], nil, plain[half:]),
		"zstd":                 zstdd(t, plain),
		"zstd:chunked":         chunked,
	} {
		for _, budget := range []int64{0, 1 << 20, 1 << 30} {
			got, err := read(t, blobOf(data, plain), budget, Limits{})
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: %d bytes, want %d, error %v", name, len(got), len(plain), err)
			}
		}
		if name == "none" {
			continue // uncompressed: the end is that of the archive
		}
		for _, cut := range []int{1, 5, len(data) / 2} {
			short := data[:len(data)-cut]
			if _, err := read(t, blobOf(short, plain), 1<<20, Limits{}); err == nil {
				t.Errorf("%s without its last %d bytes: no error", name, cut)
			}
		}
		if _, err := read(t, blobOf(append(bytes.Clone(data), "garbage"...), plain), 1<<20, Limits{}); err == nil {
			t.Errorf("%s with garbage behind it: no error", name)
		}
	}
}

func TestUnknownDigests(t *testing.T) {
	plain := sample(t)
	b := blobOf(plain, plain)
	b.Digest, b.Size = "", -1
	if _, err := read(t, b, 0, Limits{}); err != nil {
		t.Error(err)
	}
	if b.Name() != b.DiffID.String() {
		t.Errorf("it is called %s", b.Name())
	}
	b.DiffID = digest.FromString("other")
	var mismatch *MismatchError
	if _, err := read(t, b, 0, Limits{}); !errors.As(err, &mismatch) || mismatch.What != "archive" {
		t.Errorf("error %v", err)
	}
	b.Digest, b.DiffID = digest.SHA512.FromBytes(plain), ""
	if _, err := read(t, b, 0, Limits{}); err != nil {
		t.Error(err)
	}
}

func TestBombStops(t *testing.T) {
	zeros := make([]byte, 8<<20)
	var limit *LimitError
	if got, err := read(t, blobOf(gzipped(t, zeros), zeros), 0, Limits{LayerBytes: 1 << 20}); !errors.As(err, &limit) || len(got) > 1<<20+chunkSize {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	for name, window := range map[string][]byte{
		"a window of 2 GiB":            layers.Zstd(sample(t), 31),
		"a frame in memory of 200 MiB": {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x80, 0x0c, 1, 0, 0},
	} {
		_, err := read(t, blobOf(window, nil), 0, Limits{})
		if err == nil || !strings.Contains(err.Error(), "more than 128 MiB are not allowed") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// The budget is respected, and every stream still progresses on its own.
func TestBudget(t *testing.T) {
	plain := sample(t)
	budget := NewBudget(3 * (chunkSize + history))
	var streams []*Stream
	for range 5 {
		streams = append(streams, Start(context.Background(), blobOf(plain, plain), budget, NewTally(Limits{})))
	}
	for i := len(streams) - 1; i >= 0; i-- { // last one first: the others hold all chunks
		if got, err := io.ReadAll(streams[i]); err != nil || len(got) != len(plain) {
			t.Errorf("stream %d: %d bytes, error %v", i, len(got), err)
		}
	}
	if most := 3 + 5*own; len(budget.free) > most {
		t.Errorf("%d chunks were made, want at most %d", len(budget.free), most)
	}
	for _, s := range streams {
		s.Close()
	}
	if budget.left != budget.max {
		t.Errorf("%d of %d chunks came back", budget.left, budget.max)
	}
}

func TestCloseEndsAStreamThatIsNotRead(t *testing.T) {
	budget := NewBudget(0)
	s := Start(context.Background(), blobOf(sample(t), nil), budget, NewTally(Limits{}))
	time.Sleep(time.Millisecond)
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}

func TestAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		records map[string]string
		want    map[string]string
		err     string
	}{
		"none":     {map[string]string{"comment": "x"}, nil, ""},
		"schily":   {map[string]string{"SCHILY.xattr.user.a": "\x001"}, map[string]string{"user.a": "\x001"}, ""},
		"as it is": {map[string]string{"SCHILY.xattr.user.a%3Db%253D%": "1"}, map[string]string{"user.a%3Db%253D%": "1"}, ""},
		"coded by bsdtar": {
			map[string]string{"LIBARCHIVE.xattr.user.a%3Db%25": "MQ", "SCHILY.xattr.user.a%3Db%25": "1"},
			map[string]string{"user.a=b%": "1"},
			"",
		},
		"libarchive": {
			map[string]string{"LIBARCHIVE.xattr.user.a%20b": base64.StdEncoding.EncodeToString([]byte("1"))},
			map[string]string{"user.a b": "1"},
			"",
		},
		"both": {
			map[string]string{"LIBARCHIVE.xattr.user.a": "Mg", "SCHILY.xattr.user.a": "1"},
			map[string]string{"user.a": "1"},
			"",
		},
		"a bad value": {map[string]string{"LIBARCHIVE.xattr.user.a": "?"}, nil, `attribute "user.a": its value is not base64`},
		"a bad name":  {map[string]string{"LIBARCHIVE.xattr.user.%": "Mg"}, nil, "its name is not encoded correctly"},
	} {
		e := &Entry{}
		err := e.xattrs(c.records, false)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %s", name, err, c.err)
			}
			continue
		}
		if err != nil || len(e.Xattrs) != len(c.want) {
			t.Errorf("%s: %q, want %q, error %v", name, e.Xattrs, c.want, err)
		}
		for k, v := range c.want {
			if e.Xattrs[k] != v {
				t.Errorf("%s: %q is %q, want %q", name, k, e.Xattrs[k], v)
			}
		}
	}
}

// TestWhoCodedNames reads archives of GNU tar, which encodes names, and of archive/tar, which does not: names are read correctly
// from both.
func TestWhoCodedNames(t *testing.T) {
	names := []string{"user.100%", "user.a%3Db", "user.a%25b"}
	long := strings.Repeat(strings.Repeat("n", 60)+"/", 2) + "f" // leaves no room for the tool in a header
	paths := []string{"f", "d/", "d/f", long}
	content := map[string]string{"plain": strings.Repeat("x", 3000), "one": "x"} // without attributes, before the others
	check := func(t *testing.T, archive []byte, names ...string) {
		t.Helper()
		_, entries, err := pass(archive, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range entries {
			if e.Xattrs == nil {
				continue
			}
			seen++
			for _, name := range names {
				if e.Xattrs[name] != name || len(e.Xattrs) != len(names) {
					t.Errorf("%.20q: %q, want %q", e.Name, e.Xattrs, names)
				}
			}
		}
		if seen != len(paths) {
			t.Errorf("%d entries have attributes, want %d", seen, len(paths))
		}
	}
	t.Run("Go", func(t *testing.T) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, path := range append([]string{"plain", "one", "PaxHeaders/f"}, paths...) {
			h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(content[path]))}
			if slices.Contains(paths, path) {
				h.PAXRecords = map[string]string{}
				for _, name := range names {
					h.PAXRecords["SCHILY.xattr."+name] = name
				}
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(w, content[path])
		}
		_ = w.Close()
		check(t, b.Bytes(), names...)
	})
	for tool, options := range map[string][]string{
		"GNU tar":               nil,
		"GNU tar with its PID":  {"--pax-option=exthdr.name=%d/PaxHeaders.%p/%f"},
		"GNU tar, reproducible": {"--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "--mtime=@0"},
	} {
		t.Run(tool, func(t *testing.T) {
			dir, names := t.TempDir(), append([]string{"user.a=b"}, names...)
			paths := append([]string{"plain", "one"}, paths...)
			for i, path := range paths {
				at := filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(dir+"/"+path), 0o755); err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(path, "/") {
					if err := os.WriteFile(at, []byte(content[path]), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for _, name := range names[:len(names)*min(1, i/2)] {
					if err := unix.Setxattr(at, name, []byte(name), 0); err == unix.ENOTSUP {
						t.Skip(err)
					} else if err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := exec.LookPath("tar"); err != nil {
				t.Skip(err)
			}
			args := append([]string{"--format=posix", "--xattrs", "--xattrs-include=*", "--no-recursion", "-C", dir, "-c"}, options...)
			archive, err := exec.Command("tar", append(args, paths...)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			check(t, archive, names...)
		})
	}
}

func TestUnknownEntryIsRefused(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "a", Typeflag: 'V'}); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	s := Start(context.Background(), blobOf(b.Bytes(), b.Bytes()), NewBudget(0), NewTally(Limits{}))
	defer s.Close()
	if _, err := s.Entries().Next(); err == nil || !strings.Contains(err.Error(), `"a": entry of type 'V', which a layer cannot have`) {
		t.Errorf("error %v", err)
	}
}

// A panic anywhere while reading a layer ends the stream with an error and all goroutines.
func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	data := gzipped(t, sample(t))
	for name, open := range map[string]func() (io.ReadCloser, error){
		"open": func() (io.ReadCloser, error) { panic("oh") },
		"read": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(data[:9]), panicking{})), nil
		},
	} {
		b := blobOf(data, sample(t))
		b.Open = open
		if _, err := read(t, b, 1<<20, Limits{}); err == nil || !strings.Contains(err.Error(), "internal error: oh") {
			t.Errorf("%s: %v", name, err)
		}
	}
	out := make(chan chunk, 1)
	guard(t.Context(), out, failed, func() { panic("oh") })
	if c, ok := <-out; !ok || c.err == nil {
		t.Errorf("got %v, %v", c.err, ok)
	}
	if _, ok := <-out; ok {
		t.Error("the channel is not closed")
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("oh") }
