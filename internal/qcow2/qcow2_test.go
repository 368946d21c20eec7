package qcow2_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/qcow2"
)

const cluster = qcow2.ClusterSize

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// qemuImg runs qemu-img, which must succeed. It skips the test if qemu-img is not installed.
func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// create creates an image at path.
func create(t *testing.T, path string, opt qcow2.Options) *qcow2.Image {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	m, err := qcow2.Create(f, opt)
	must(t, err)
	return m
}

func write(t *testing.T, m *qcow2.Image, off int64, p []byte) {
	t.Helper()
	n, err := m.WriteAt(p, off)
	must(t, err)
	if n != len(p) {
		t.Fatalf("%d bytes written of %d", n, len(p))
	}
}

// chain makes images, each backed by the previous one and written to at random, and returns their contents.
func chain(t *testing.T, dir string, size int64) (all [][]byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, size)
	var below *qcow2.Image
	for i, name := range []string{"0.qcow2", "1.qcow2", "2.qcow2", "3.qcow2"} {
		opt := qcow2.Options{Size: size}
		if below != nil {
			opt.Backing, opt.BackingName, opt.BackingFormat = below, []string{"0.qcow2", "1.qcow2", "2.qcow2"}[i-1], "qcow2"
		}
		m := create(t, filepath.Join(dir, name), opt)
		for j := range 60 {
			off := r.Int64N(size)
			p := make([]byte, r.Int64N(min(size-off, 3*cluster))+1)
			switch r.IntN(4) {
			case 0: // zeros
			case 1:
				copy(p, content[off:]) // unchanged data
			default:
				for k := range p {
					p[k] = byte(r.IntN(256))
				}
			}
			if r.IntN(3) == 0 { // whole clusters
				off = off / cluster * cluster
				whole := make([]byte, min(cluster, size-off))
				copy(whole, p)
				p = whole
			}
			write(t, m, off, p)
			copy(content[off:], p)
			if j%10 != 0 {
				continue
			}
			got := make([]byte, size)
			if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
				t.Fatalf("image %d has other content, error %v", i, err)
			}
		}
		must(t, m.Close())
		got := make([]byte, size+1)
		if n, err := m.ReadAt(got, 0); int64(n) != size || err != io.EOF || !bytes.Equal(got[:n], content) {
			t.Fatalf("image %d has other content after Close, error %v", i, err)
		}
		all = append(all, bytes.Clone(content))
		below = m
	}
	return all
}

// extent is an entry of the output of qemu-img map.
type extent struct {
	Start, Length int64
	Depth         int
	Present, Zero bool
	Data          bool
}

// QEMU finds no errors, reads the same content, and finds in each image exactly the clusters that differ from the backing image.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{cluster, 40 * cluster, 55*cluster + 512, 70*cluster - 512} {
		dir := t.TempDir()
		all := chain(t, dir, size)
		below := make([]byte, size)
		for i, content := range all {
			path := filepath.Join(dir, []string{"0.qcow2", "1.qcow2", "2.qcow2", "3.qcow2"}[i])
			if out := qemuImg(t, "check", path); !strings.Contains(out, "No errors were found on the image.") || strings.Contains(out, "leaked") {
				t.Errorf("check: %s", out)
			}
			raw := filepath.Join(dir, "raw")
			must(t, os.WriteFile(raw, content, 0o600))
			if out := qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw, path); !strings.Contains(out, "Images are identical.") {
				t.Errorf("compare: %s", out)
			}
			var extents []extent
			must(t, json.Unmarshal([]byte(qemuImg(t, "map", "--output=json", path)), &extents))
			// Extents are smaller than a cluster where the file has holes.
			here, data := map[int64]bool{}, map[int64]bool{}
			for _, e := range extents {
				for at := e.Start / cluster; at*cluster < e.Start+e.Length; at++ {
					here[at] = here[at] || e.Depth == 0 && e.Present
					data[at] = data[at] || e.Data
				}
			}
			for at := range (size + cluster - 1) / cluster {
				end := min(at*cluster+cluster, size)
				is, was := content[at*cluster:end], below[at*cluster:end]
				differs, zero := !bytes.Equal(is, was), len(bytes.Trim(is, "\x00")) == 0
				if here[at] != differs || differs && data[at] == zero {
					t.Errorf("image %d, cluster %d: in the image %v as data %v, want %v; zeros %v", i, at, here[at], data[at], differs, zero)
				}
			}
			below = content
		}
	}
}

// The same writes give the same bytes.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	var files [2][]byte
	for i := range files {
		dir := t.TempDir()
		chain(t, dir, 40*cluster)
		p, err := os.ReadFile(filepath.Join(dir, "2.qcow2"))
		must(t, err)
		files[i] = p
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the files differ")
	}
}

// An image with many clusters has several refcount blocks, and its file stays small.
func TestLarge(t *testing.T) {
	t.Parallel()
	const size = 4 << 40
	// In memory: on a disk that discards, removing such a fragmented file takes a minute.
	dir, err := os.MkdirTemp("/dev/shm", "qcow2-test-") //nolint:usetesting // TempDir may be on a disk
	if err != nil {
		t.Skipf("no file system in memory: %v", err)
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "image")
	m := create(t, path, qcow2.Options{Size: size})
	one := []byte{1}
	for i := range int64(33000) { // more than one refcount block holds
		write(t, m, i*cluster, one)
	}
	write(t, m, size-1, one)
	must(t, m.Close())
	if out := qemuImg(t, "check", path); !strings.Contains(out, "33001/") {
		t.Errorf("check: %s", out)
	}
	if out := qemuImg(t, "info", path); !strings.Contains(out, "virtual size: 4 TiB") || !strings.Contains(out, "compat: 1.1") {
		t.Errorf("info: %s", out)
	}
}

// A backing image may be raw, and shorter.
func TestRawBacking(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := bytes.Repeat([]byte("raw"), 30000)
	must(t, os.WriteFile(filepath.Join(dir, "base.raw"), raw, 0o600))
	path := filepath.Join(dir, "image")
	m := create(t, path, qcow2.Options{Size: 4 * cluster, Backing: bytes.NewReader(raw), BackingName: "base.raw", BackingFormat: "raw"})
	write(t, m, 10, []byte("x"))
	write(t, m, 3*cluster, make([]byte, cluster))
	must(t, m.Close())
	if out := qemuImg(t, "info", path); !strings.Contains(out, "backing file: base.raw (actual path: "+dir) || !strings.Contains(out, "backing file format: raw") {
		t.Errorf("info: %s", out)
	}
	qemuImg(t, "check", path)
	flat := filepath.Join(dir, "flat")
	qemuImg(t, "convert", "-O", "raw", path, flat)
	got, err := os.ReadFile(flat)
	must(t, err)
	want := make([]byte, 4*cluster)
	copy(want, raw)
	want[10] = 'x'
	if !bytes.Equal(got, want) {
		t.Error("the content differs")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for want, opt := range map[string]qcow2.Options{
		"qcow2: 100 bytes: not a multiple of 512 up to 32 TiB":                           {Size: 100},
		"qcow2: a backing image needs a name and a format":                               {BackingName: "x", BackingFormat: "raw"},
		`qcow2: backing format "vmdk" is neither qcow2 nor raw`:                          {Backing: bytes.NewReader(nil), BackingName: "x", BackingFormat: "vmdk"},
		"qcow2: the name of the backing image has 2000 bytes, at most 1023 are possible": {Backing: bytes.NewReader(nil), BackingName: strings.Repeat("x", 2000), BackingFormat: "raw"},
	} {
		if _, err := qcow2.Create(nil, opt); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	m := create(t, filepath.Join(t.TempDir(), "image"), qcow2.Options{Size: cluster})
	for _, off := range []int64{-1, cluster, cluster - 1} {
		if _, err := m.WriteAt([]byte("xx"), off); err == nil {
			t.Errorf("a write at %d is not refused", off)
		}
	}
	must(t, m.Close())
	if _, err := m.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a write after Close is not refused")
	}
}
