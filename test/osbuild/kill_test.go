package osbuild

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// endsWithin is how soon our executable has to be gone after osbuild.
const endsWithin = 2 * time.Second

func TestKilledOsbuildEndsTheDownload(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{
		"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			reg := registry.Start(t)
			img := images.New(images.Layer(4 << 20))
			img.Push(t, reg.URL, "a/b")
			f := reg.Faults(t)
			const before = 3 << 20
			layer := registry.Blob(img.Layers[0].Digest.String())
			f.On(layer, registry.Stall(before))
			m := manifest(object{
				"org.osbuild.skopeo": items(object{img.ID.String(): pinned(f.Addr+"/a/b", img)}),
			}, noop(img.ID.String()))

			cmd := h.command(t, m)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, time.Minute, "the download", func() bool { return size(h.sources("org.osbuild.containers")) >= before })
			ours := h.running(t)
			if len(ours) == 0 {
				t.Fatal("our executable does not run")
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			waitFor(t, endsWithin, "the end of our executable", func() bool { return len(h.running(t)) == 0 })
			t.Logf("gone %v after the signal", time.Since(start).Round(time.Millisecond))
			_ = cmd.Wait() // killed, as it should be

			entry := h.sources("org.osbuild.containers", img.ID.String())
			if _, err := os.Lstat(filepath.Join(entry, "image")); err == nil {
				t.Errorf("%s is published", entry)
			}
			f.Reset()
			if r := h.build(t, m); !r.Success {
				t.Fatalf("the build after it: %s", r.text)
			}
			wantImage(t, filepath.Join(entry, "image"), img)
			if again := f.BytesSent("/blobs/" + img.Layers[0].Digest.String()); again > img.Layers[0].Size/2 {
				t.Errorf("%d bytes of %d were fetched again", again, img.Layers[0].Size)
			}
		})
	}
}

func waitFor(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// size is the sum of the sizes of all files below dir.
func size(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil { // it is being written
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// running lists the processes whose executable is in our libdir.
func (h *host) running(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && strings.HasPrefix(exe, h.libdir+"/sources/") {
			pids = append(pids, pid)
		}
	}
	return pids
}
