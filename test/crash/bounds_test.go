package crash_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// Resources of a process that reads a hostile layer, in bytes. Files in memory (memfd, tmpfs) count as files.
const (
	mayAllocate = 384 << 20
	mayWrite    = 64 << 20 // to one file
)

// bounded runs a program with these limits, set before it starts. It returns its exit status and log.
func bounded(t *testing.T, stdin []byte, exe string, args ...string) (status int, log string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "build", exe))
	must(t, err)
	cmd := exec.Command(path, args...)
	cmd.Env = append(environ(t), "TMPDIR="+t.TempDir())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	stop := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stop.Stop()
	for what, limit := range map[int]uint64{unix.RLIMIT_DATA: mayAllocate, unix.RLIMIT_FSIZE: mayWrite} {
		if err := unix.Prlimit(cmd.Process.Pid, what, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			t.Error(err)
		}
	}
	_, _ = in.Write(stdin) // may exit before reading it all
	in.Close()
	_ = cmd.Wait() // the status is checked
	return cmd.ProcessState.ExitCode(), out.String()
}

// boundedStage runs container-deploy or, with a driver, the stage that writes a storage.
func boundedStage(t *testing.T, a *inputs.Arguments, img *images.Image, driver string) (status int, log string) {
	t.Helper()
	a.Dir(t, "localhost/x:v1", img)
	stage := "org.osbuild.container-deploy"
	a.Options = object{}
	if driver != "" {
		stage = "org.osbuild.skopeo"
		a.Options = object{"destination": object{"type": "containers-storage", "storage-driver": driver}}
	}
	return bounded(t, a.JSON(t), "libdir/stages/"+stage)
}

// sparse returns an archive with one file that consists of a hole.
func sparse(t *testing.T, size int64) []byte {
	t.Helper()
	// archive/tar refuses these records, so they are renamed afterwards.
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "hole", Mode: 0o644, PAXRecords: map[string]string{
		"gnu.sparse.major": "0", "gnu.sparse.minor": "1", "gnu.sparse.name": "hole", "gnu.sparse.numblocks": "1",
		"gnu.sparse.size": fmt.Sprint(size), "gnu.sparse.map": fmt.Sprint(size, ",0"),
	}}))
	must(t, w.Close())
	return bytes.ReplaceAll(b.Bytes(), []byte("gnu.sparse."), []byte("GNU.sparse."))
}

// hostile returns an image with one layer whose diff ID is wrong: the archive is too large to hash here, and is refused before the
// digest is checked.
func hostile(blob []byte) *images.Image {
	return images.New(images.Use(images.LayerInfo{
		Digest: digest.FromBytes(blob), DiffID: digest.FromString("?"), Size: int64(len(blob)), Blob: blob,
		MediaType: "application/vnd.oci.image.layer.v1.tar+zstd",
	}))
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(t, err)
	return w.EncodeAll(data, nil)
}

// TestHostileLayersStayWithinBounds has small blobs that declare, or decompress to, huge archives.
func TestHostileLayersStayWithinBounds(t *testing.T) {
	needRoot(t)
	empty := make([]byte, 1024)
	header := func(name, comment string) []byte {
		var b bytes.Buffer
		must(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, PAXRecords: map[string]string{"comment": comment}}))
		return b.Bytes()
	}
	large := header("x", strings.Repeat("x", 1<<20-100))
	large = large[:len(large)-512] // without the file's own header
	for name, c := range map[string]struct {
		blob []byte
		want string
	}{
		"zeros behind the end": {append(compressed(t, empty), bytes.Repeat(compressed(t, make([]byte, 1<<20)), 1024)...), "bytes after the end of the archive: more than the limit of 1048576"},
		"a hole":               {sparse(t, 1<<40), "bytes in the layer's files: more than the limit of 68719476736"},
		"headers":              {bytes.Repeat(compressed(t, large), 5), "bytes in the headers of an entry: more than the limit of 4194304"},
	} {
		for _, driver := range []string{"", "overlay", "vfs"} {
			t.Run(name+" "+driver, func(t *testing.T) {
				if status, log := boundedStage(t, inputs.New(t), hostile(c.blob), driver); status != 1 || !strings.Contains(log, c.want) {
					t.Errorf("exit status %d: %.2000s", status, log)
				}
			})
		}
	}
	// Headers within the limits for one entry, but more than fits into memory.
	blob, sum := []byte{}, digest.SHA256.Digester()
	add := func(data, as []byte) { blob = append(blob, as...); sum.Hash().Write(data) }
	as := compressed(t, large)
	for n := range 150 {
		add(large, as)
		file := header(fmt.Sprint("file", n), "")
		add(file, compressed(t, file))
	}
	many := images.New(images.Use(images.LayerInfo{
		Digest: digest.FromBytes(blob), DiffID: sum.Digest(), Size: int64(len(blob)), Blob: blob,
		MediaType: "application/vnd.oci.image.layer.v1.tar+zstd",
	}))
	for _, driver := range []string{"", "overlay", "vfs"} {
		t.Run("many headers "+driver, func(t *testing.T) {
			if status, log := boundedStage(t, inputs.New(t), many, driver); status != 0 {
				t.Errorf("exit status %d: %.2000s", status, log)
			}
		})
	}
	t.Run("import", func(t *testing.T) {
		for want, archive := range map[string][]byte{
			`"hole" in it is sparse`: sparse(t, 1<<40),
			"bytes after the end of the archive: more than the limit of 1048576": compressed(t, make([]byte, 3<<20)),
			"bytes in the headers of an entry: more than the limit of 4194304":   compressed(t, bytes.Repeat(large, 5)),
		} {
			if status, log := bounded(t, archive, "osbuild-containers", "import", "-", "--cache", newCache(t)); status != 2 || !strings.Contains(log, want) {
				t.Errorf("exit status %d, want %s: %.2000s", status, want, log)
			}
		}
	})
}

// TestHolesOnASmallDisk has a file with a hole that is within the limits but too large for the disk, and one too large without a
// hole.
func TestHolesOnASmallDisk(t *testing.T) {
	zeros := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: 48 << 20}))
		_, err := io.CopyN(w, zeroReader{}, 48<<20)
		must(t, err)
		must(t, w.Close())
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, err = z.Write(b.Bytes())
		must(t, err)
		must(t, z.Close())
		return out.Bytes()
	}()
	for name, c := range map[string]struct {
		blob []byte
		want string
	}{
		"hole":  {sparse(t, 30<<30), `"hole": no space left on device: the file has 32212254720 bytes with its holes, and `},
		"zeros": {zeros, "no space left on device"},
	} {
		for _, driver := range []string{"overlay", "vfs"} {
			t.Run(name+" "+driver, func(t *testing.T) {
				dir := t.TempDir()
				mount(t, "tmpfs", dir, "tmpfs", 0, "size=32m")
				a := inputs.In(t, dir)
				if status, log := boundedStage(t, a, hostile(c.blob), driver); status != 1 || !strings.Contains(log, c.want) || !strings.Contains(log, "layer 1/1") {
					t.Errorf("exit status %d: %.2000s", status, log)
				}
				if used, err := os.ReadDir(filepath.Join(a.Tree, "var/lib/containers/storage", driver+"-images")); err == nil && len(used) > 1 { // a lock file
					t.Errorf("there is %v", used)
				}
			})
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
