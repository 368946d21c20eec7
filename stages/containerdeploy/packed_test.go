package containerdeploy

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/pack"
)

// tricky makes a tree with what is easily lost.
func tricky(t *testing.T) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, data string, mode os.FileMode) {
		must(os.MkdirAll(filepath.Dir(at(name)), 0o755))
		must(os.WriteFile(at(name), []byte(data), 0o600))
		must(os.Chmod(at(name), mode))
	}
	long := strings.Repeat("n", 250)
	write("bin/su", "su", 0o755|os.ModeSetuid|os.ModeSetgid)
	write("bad-\xff", "x", 0o644)
	write(long+"/"+long+"/"+long, "long", 0o600)
	write("ping", "p", 0o755)
	must(os.Link(at("ping"), at("bin/ping")))
	must(os.Mkdir(at("tmp"), 0o755))
	must(os.Chmod(at("tmp"), 0o777|os.ModeSticky))
	must(os.Lchown(at("ping"), 3_000_000_000, 12))
	must(unix.Setxattr(at("ping"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(unix.Setxattr(at("tmp"), "user.a=b", []byte("\x00\xff"), 0))
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	must(unix.Setxattr(at("tmp"), "system.posix_acl_default", []byte(acl), 0))
	must(unix.Setxattr(at("bad-\xff"), "system.posix_acl_access", []byte(acl), 0))
	must(os.Symlink("../../x", at("bin/link")))
	must(os.Link(at("bin/link"), at("link")))
	must(unix.Mkfifo(at("fifo"), 0o640))
	must(unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70_000))))
	write("sparse", "x", 0o600)
	must(os.Truncate(at("sparse"), 3<<20))
	must(os.Lchown(at("bin/link"), 5, 6))
	i := int64(0)
	must(filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		must(err)
		i += 1_000_000_007
		times := []unix.Timespec{unix.NsecToTimespec(i), unix.NsecToTimespec(i)}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW)
	}))
	return dir
}

// packed returns the tree as an archive, which describes all of it.
func packed(t *testing.T, tree, compression string) []byte {
	t.Helper()
	dir := t.TempDir()
	img := pack.Image{Created: time.Unix(5, 0), Compression: pack.Compression{Format: compression}}
	if err := pack.Archive(context.Background(), dir, "image.tar", []pack.Layer{{Name: "base", Path: tree}}, img, t.Logf); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A tree that is packed, deployed and packed again gives the same archive, bit for bit.
func TestPackedTreeRoundTrip(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	tree := tricky(t)
	for _, compression := range []string{"gzip", "zstd", "none"} {
		in, out := t.TempDir(), t.TempDir()
		first := packed(t, tree, compression)
		if err := os.WriteFile(filepath.Join(in, "image.tar"), first, 0o600); err != nil {
			t.Fatal(err)
		}
		status, log := call(t, map[string]any{
			"tree": out, "options": map[string]any{}, "meta": map[string]any{},
			"inputs": map[string]any{"images": map[string]any{"path": in, "data": map[string]any{"archives": map[string]any{
				"image.tar": map[string]any{"format": "oci-archive", "name": "localhost/x:v1"},
			}}}},
		})
		if status != 0 {
			t.Fatalf("%s: exit status %d, log %s", compression, status, log)
		}
		if !bytes.Equal(packed(t, out, compression), first) {
			t.Errorf("%s: the tree in %s is not what %s was", compression, out, tree)
		}
	}
}
