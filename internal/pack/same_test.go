package pack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheBytesDependOnNothingElse(t *testing.T) {
	trees := make([]string, 3)
	for i := range trees {
		trees[i] = t.TempDir()
		everything(t, trees[i], func(steps []func()) {
			rand.New(rand.NewPCG(1, uint64(i))).Shuffle(len(steps), func(a, b int) { steps[a], steps[b] = steps[b], steps[a] })
		})
	}
	for _, c := range []Compression{{}, {Format: "gzip", Level: 9}, {Format: "zstd"}, {Format: "none"}} {
		t.Run(c.Format, func(t *testing.T) {
			var first [sha256.Size]byte
			for i, cores := range []int{1, 8, 3} {
				old := runtime.GOMAXPROCS(cores)
				umask := unix.Umask([]int{0o022, 0o077, 0}[i])
				path := pack(t, testImage(c), trees[i], trees[i])
				unix.Umask(umask)
				runtime.GOMAXPROCS(old)
				fi, err := os.Stat(path)
				must(t, err)
				if fi.Mode() != 0o644 {
					t.Errorf("the archive has mode %v, want 0644", fi.Mode())
				}
				raw, err := os.ReadFile(path)
				must(t, err)
				if sum := sha256.Sum256(raw); i == 0 {
					first = sum
				} else if sum != first {
					t.Errorf("another order, umask and %d cores: other bytes", cores)
				}
			}
		})
	}
}

// The bytes of a stream are pinned, to detect machines or versions of Go or of the library that produce others. An intended
// change must be in CHANGELOG.md: images made from the same trees then get other digests.
func TestTheBytesOfThisVersion(t *testing.T) {
	data := bytes.Join([][]byte{
		make([]byte, 1<<20), []byte(strings.Repeat("all work and no play makes jack a dull boy. ", 50_000)),
		noise(1<<20+1, 6, 2), noise(1<<19, 8, 4), noise(1<<20, 3, 3),
	}, nil)
	for i, want := range []string{
		"76972ad284741fc5", "90307937c0f140f8", "cbff76d2e1a619ec", "909fc46d31322e26", "9eff1d66be6a07e0", "8c9ae7b718a817c4",
	} {
		if got := fmt.Sprintf("%.8x", sha256.Sum256(compressed(t, formats[i], data, 1<<20))); got != want {
			t.Errorf("%+v: the stream is %s, was %s", formats[i], got, want)
		}
	}
}

// TestTheArchiveOfThisVersion pins everything around the streams.
func TestTheArchiveOfThisVersion(t *testing.T) {
	mustBeRoot(t)
	dir := t.TempDir()
	everything(t, dir, inOrder)
	privileged(t, dir)
	raw, err := os.ReadFile(pack(t, testImage(Compression{}), dir))
	must(t, err)
	if got, want := fmt.Sprintf("%.8x", sha256.Sum256(raw)), "167e44944f5f9ac6"; got != want {
		t.Errorf("the archive is %s, was %s", got, want)
	}
}
