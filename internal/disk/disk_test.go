package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/ext4"
	"osbuild-containers/internal/password"
	"osbuild-containers/internal/progress"
)

// images maps names to layers, lowest first.
var images = map[string][][]item{
	"none":                              {},
	"a hard link to a layer below":      {{file("a", "1"), file("c", "3")}, {hardlink("b", "a").With(owner(5, 6))}, {file("a", "2"), hardlink("d/e", "b")}},
	"metadata":                          {{directory("d"), file("d/f", strings.Repeat("x", 9000)).With(xattr("user.x", "1"))}, {directory("d").With(owner(1, 2)), file("d/f", strings.Repeat("x", 9000)).With(owner(3, 4))}},
	"removed and added":                 {{file("d/a", "1"), file("d/b", "2")}, {file(".wh.d", "")}, {file("d/b", "3")}},
	"removed and added in one layer":    {{file("d/a", "1"), file("d/b", "2")}, {file(".wh.d", ""), file("d/b", "3")}, {file("d/c", "4"), file(".wh.d", "")}},
	"a file over a directory":           {{file("d/a", "1"), file("d/e/f", "2")}, {file("d", "file")}, {file("d/a", "back")}},
	"a directory over a link":           {{symlink("d", "e"), file("e/a", "1")}, {file("d/b", "2")}, {symlink("d", "/e")}},
	"an opaque directory with content":  {{file("d/a", "1"), file("d/e/f", "2")}, {file("d/a", "3"), file("d/.wh..wh..opq", ""), file("d/e/g", "4")}},
	"an opaque directory, of overlayfs": {{file("d/a", "1")}, {directory("d").With(xattr("trusted.overlay.opaque", "y")), file("d/b", "2")}},
	"whiteouts through links":           {{file("usr/lib/a", "1"), file("usr/lib/b", "2")}, {symlink("lib", "usr/lib"), file("lib/.wh.a", ""), file("lib/c", "3")}},
	"whiteouts of overlayfs":            {{file("a", "1"), file("b/c", "2")}, {{Header: tar.Header{Typeflag: tar.TypeChar, Name: "a"}}, hardlink("b", "a")}},
	"a directory that no layer has":     {{file("x/y/z", "1")}, {directory("x").With(owner(1, 1))}, {file("x/w/v", "2")}},
	"lost+found":                        {{file("lost+found/a", "1")}, {file("lost+found/.wh.a", ""), file("lost+found/b", "2")}},
}

// TestEachImageIsTheLayersSoFar compares the file system after each layer with the result of deploying the layers up to it at
// once.
func TestEachImageIsTheLayersSoFar(t *testing.T) {
	for name, layers := range images {
		t.Run(name, func(t *testing.T) { soFar(t, layers) })
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	compared := 0
	for range 120 {
		if soFar(t, randomLayers(rnd)) {
			compared++
		}
		if t.Failed() {
			return
		}
	}
	if compared < 20 {
		t.Errorf("only %d random images could be compared", compared)
	}
}

// soFar compares, and reports whether the layers are valid for an image.
func soFar(t *testing.T, contents [][]item) bool {
	t.Helper()
	var layers []deploy.Layer
	for _, items := range contents {
		layers = append(layers, layerOf(t, items...))
	}
	opt := deploy.Options{Epoch: epoch}
	var want []string
	for k := range layers {
		fs := newFS(t, 64<<20)
		if err := deploy.To(t.Context(), &dest{FS: fs}, layers[:k+1], opt, quiet()); err != nil {
			return false
		}
		must(t, fs.Sync())
		want = append(want, show(t, fs))
	}
	fs := newFS(t, 64<<20)
	err := deploy.Each(t.Context(), &dest{FS: fs}, layers, opt, quiet(), func(k int) error {
		must(t, fs.Sync())
		if got := show(t, fs); got != want[k-1] {
			t.Errorf("after layer %d of %v:\n%s", k, contents, differ(got, want[k-1]))
		}
		return nil
	})
	if err != nil && !strings.Contains(err.Error(), "has it twice") && !strings.Contains(err.Error(), "hard link to") {
		t.Errorf("%v, of %v", err, contents)
	}
	return err == nil
}

// randomLayers returns layers that change few names many times.
func randomLayers(rnd *rand.Rand) [][]item {
	names := []string{"a", "b", "a/b", "a/c", "b/a", "c", "a/b/c", "c/a", "b/c", "l/a"}
	pick := func() string { return names[rnd.IntN(len(names))] }
	layers := make([][]item, 2+rnd.IntN(3))
	for k := range layers {
		for range 1 + rnd.IntN(6) {
			name := pick()
			var i item
			switch rnd.IntN(8) {
			case 0, 1, 2:
				i = file(name, strings.Repeat(string('a'+rune(rnd.IntN(3))), 5000*rnd.IntN(3)))
			case 3:
				i = directory(name)
			case 4:
				i = symlink(name, pick())
			case 5:
				i = hardlink(name, pick())
			case 6:
				i = file(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), "")
			case 7:
				i = file(name+"/.wh..wh..opq", "")
			}
			layers[k] = append(layers[k], i.With(owner(rnd.IntN(2), 7)))
		}
	}
	return layers
}

const shadow = "root:*:19000:0:99999:7:::\nbin:*:19000:0:99999:7:::\n"

// acl grants user 5 more than others.
const acl = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\x05\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"

// rich returns layers with entries of every type.
func rich(t testing.TB) []deploy.Layer {
	t.Helper()
	sparse := file("var/zeros", strings.Repeat("\x00", 100_000)+"end")
	return []deploy.Layer{
		layerOf(t,
			directory("./").With(func(h *tar.Header) { h.Mode = 0o711 }),
			directory("etc"), file("etc/shadow", shadow).With(func(h *tar.Header) { h.Mode = 0 }),
			file("usr/bin/su", "program").With(func(h *tar.Header) { h.Mode = 0o4755 }),
			file("usr/bin/ping", "program").With(xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
			symlink("bin", "usr/bin"), symlink("long", strings.Repeat("x", 100)), sparse,
			hardlink("usr/bin/sudo", "usr/bin/su").With(func(h *tar.Header) { h.Mode = 0o4755 }),
			item{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Devmajor: 1, Devminor: 3, Mode: 0o666, ModTime: epoch}},
			item{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "run/fifo", Mode: 0o600, ModTime: epoch}},
			file("etc/acl", "x").With(xattr("system.posix_acl_access", acl)).With(func(h *tar.Header) { h.Mode = 0o664 }),
			file("names/\xff\xfe", "not text").With(owner(1000, 65534)),
		),
		layerOf(t, hardlink("usr/bin/doas", "usr/bin/su"), file("usr/bin/.wh.ping", ""), file("usr/new", strings.Repeat("new", 40_000))),
		layerOf(t, file("usr/.wh..wh..opq", ""), file("usr/bin/su", "other"), directory("etc").With(func(h *tar.Header) { h.Mode = 0o750 })),
	}
}

func options() Options {
	return Options{Deploy: deploy.Options{Epoch: epoch}, Seed: "sha256:1234", Time: epoch}
}

// deployed describes the directory to which the layers are deployed.
func deployed(t *testing.T, layers []deploy.Layer, opt Options) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	dir := t.TempDir()
	must(t, deploy.Deploy(t.Context(), dir, layers, opt.Deploy, quiet()))
	if opt.RootPassword != "" {
		_, err := password.SetInDir(dir, opt.RootPassword)
		must(t, err)
	}
	return showDir(t, dir)
}

// mounted describes an image mounted by the kernel.
func mounted(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "loop") {
			t.Skipf("no loop device: %s", out)
		}
		t.Fatalf("mount: %v\n%s", err, out)
	}
	defer func() {
		// A child of this process has its open files until it calls execve.
		for range 1000 {
			if err := unix.Unmount(dir, 0); err != unix.EBUSY {
				must(t, err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("still busy")
	}()
	return showDir(t, dir)
}

func writeExt4(t testing.TB, layers []deploy.Layer, opt Options) (path, log string, err error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	var b bytes.Buffer
	err = WriteExt4(t.Context(), f, layers, opt, progress.NewLog(&b))
	return path, b.String(), err
}

// TestToolsAgree checks each image with e2fsck and the kernel, with ID mappings and a password.
func TestToolsAgree(t *testing.T) {
	layers := rich(t)
	opt := options()
	plain := opt
	opt.Deploy.UIDs = []deploy.IDRange{{Container: 0, Host: 100000, Count: 65536}}
	opt.Deploy.GIDs = opt.Deploy.UIDs
	opt.RootPassword = "$6$salt$hash"
	t.Run("ext4", func(t *testing.T) {
		path, log, err := writeExt4(t, layers, opt)
		must(t, err)
		if !strings.Contains(log, "root was locked in the image") {
			t.Errorf("log %s", log)
		}
		do(t, "e2fsck", "-fn", path)
		if fi, err := os.Stat(path); err != nil || fi.Size() != MinSize || fi.Sys().(*syscall.Stat_t).Blocks*512 > 8<<20 {
			t.Errorf("%v, %d bytes, %d blocks", err, fi.Size(), fi.Sys().(*syscall.Stat_t).Blocks)
		}
		if got, want := mounted(t, path), deployed(t, layers, opt); got != want {
			t.Error(differ(got, want))
		}
		must(t, os.Truncate(path, 300<<20))
		do(t, "resize2fs", path)
		do(t, "e2fsck", "-fn", path)
	})
	dir := t.TempDir()
	names, err := WriteChain(t.Context(), dir, layers, opt, quiet())
	must(t, err)
	if fmt.Sprint(names) != "[layer-0.qcow2 layer-1.qcow2 layer-2.qcow2 layer-3.qcow2]" {
		t.Fatal(names)
	}
	for k, name := range names {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if out := do(t, "qemu-img", "check", path); !strings.Contains(out, "No errors") {
				t.Error(out)
			}
			raw := path + ".raw"
			do(t, "qemu-img", "convert", "-O", "raw", path, raw)
			do(t, "e2fsck", "-fn", raw)
			want := deployed(t, layers[:min(k+1, len(layers))], plain)
			if k == len(layers) {
				want = deployed(t, layers, opt)
			}
			if got := mounted(t, raw); got != want {
				t.Error(differ(got, want))
			}
		})
	}
}

// TestSameBytes writes everything twice, with one processor and with two.
func TestSameBytes(t *testing.T) {
	layers := rich(t)
	opt := options()
	opt.RootPassword = "$6$salt$hash"
	sums := func(procs int) (all string) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		path, _, err := writeExt4(t, layers, opt)
		must(t, err)
		paths := []string{path}
		dir := t.TempDir()
		names, err := WriteChain(t.Context(), dir, layers, opt, quiet())
		must(t, err)
		for _, name := range names {
			paths = append(paths, filepath.Join(dir, name))
		}
		for _, p := range paths {
			f, err := os.Open(p)
			must(t, err)
			all += sumOf(t, f) + " "
			_ = f.Close()
		}
		return all
	}
	one := sums(1)
	if two := sums(2); two != one {
		t.Errorf("got %s, and %s", one, two)
	}
	opt.Seed = "another image"
	if other := sums(2); strings.Fields(other)[0] == strings.Fields(one)[0] {
		t.Error("images of other digests have the same UUID")
	}
}

// TestSizesOnly compares what is measured without contents with what is measured with them.
func TestSizesOnly(t *testing.T) {
	sparse, err := os.ReadFile("../deploy/testdata/sparse-1.0.tar")
	must(t, err)
	all := [][]deploy.Layer{rich(t), {layerOfBytes(sparse), layerOf(t, file("a", strings.Repeat("x", 9000))), layerOfBytes(sparse)}}
	rnd := rand.New(rand.NewPCG(13, 14))
	for range 60 {
		var layers []deploy.Layer
		for _, items := range randomLayers(rnd) {
			layers = append(layers, layerOf(t, items...))
		}
		all = append(all, layers)
	}
	measured := 0
	for _, layers := range all {
		needed := func(procs int, opt deploy.Options) string {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			merged, each := ext4.Measure(), ext4.Measure()
			errs := []error{deploy.To(t.Context(), &dest{FS: merged}, layers, opt, quiet())}
			must(t, merged.Sync())
			errs = append(errs, deploy.Each(t.Context(), &dest{FS: each}, layers, opt, quiet(), func(int) error { return each.Sync() }))
			size, inodes := merged.Needed()
			sizes, allInodes := each.Needed()
			if errs[0] == nil {
				measured++
			}
			return fmt.Sprint(size, inodes, sizes, allInodes, errs)
		}
		want := needed(1, deploy.Options{Epoch: epoch})
		for _, procs := range []int{1, 2, 4} {
			if got := needed(procs, deploy.Options{Epoch: epoch, SizesOnly: true}); got != want {
				t.Errorf("%d layers at a time: got %s, want %s", procs, got, want)
			}
		}
	}
	if measured < 4*len(all)/5 {
		t.Errorf("only %d could be measured", measured)
	}
}

func TestSizes(t *testing.T) {
	text := make([]byte, 60<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(text)
	large := []deploy.Layer{layerOf(t, file("large", string(text)))}
	var files []item
	for i := range 9000 {
		files = append(files, file(fmt.Sprintf("%d/%d", i%10, i), ""))
	}
	many := []deploy.Layer{layerOf(t, files...)}
	size := func(layers []deploy.Layer, size int64) (int64, error) {
		opt := options()
		opt.Size = size
		path, _, err := writeExt4(t, layers, opt)
		if err != nil {
			return 0, err
		}
		do(t, "e2fsck", "-fn", path)
		fi, err := os.Stat(path)
		must(t, err)
		dir := t.TempDir()
		if _, err = WriteChain(t.Context(), dir, layers, opt, quiet()); err != nil {
			return 0, err
		}
		if out := do(t, "qemu-img", "info", filepath.Join(dir, imageName(0))); !strings.Contains(out, fmt.Sprintf("(%d bytes)", fi.Size())) {
			t.Errorf("%d bytes, and a chain of %s", fi.Size(), out)
		}
		return fi.Size(), nil
	}
	if got, err := size(nil, 0); got != MinSize || err != nil {
		t.Errorf("without layers: %d bytes, %v", got, err)
	}
	if got, err := size(large, 0); got < 74<<20 || got > 90<<20 || err != nil {
		t.Errorf("60 MiB: %d bytes, %v", got, err)
	}
	if got, err := size(many, 64<<20); got != 64<<20 || err != nil { // with more inodes than that size has by default
		t.Errorf("9,000 files: %d bytes, %v", got, err)
	}
	_, err := size(large, 50<<20)
	small, ok := errors.AsType[*SizeError](err)
	if !ok || !strings.Contains(err.Error(), "the file system of 52428800 bytes (52.4 MB) is too small: ") {
		t.Fatalf("50 MiB for 60: %v", err)
	}
	if got, err := size(large, small.Needed); got != small.Needed || err != nil {
		t.Errorf("%d bytes, which were to suffice: %d bytes, %v", small.Needed, got, err)
	}
	if _, err := size(many, 1<<20); !errors.As(err, new(*SizeError)) {
		t.Errorf("1 MiB: %v", err)
	}
}

func TestErrors(t *testing.T) {
	opt := options()
	opt.RootPassword = "$6$x$y"
	if _, _, err := writeExt4(t, nil, opt); !errors.Is(err, password.ErrNoFile) {
		t.Errorf("no shadow file: %v", err)
	}
	opt = options()
	opt.Deploy.UIDs = []deploy.IDRange{{Container: 0, Host: 100000, Count: 1}}
	_, err := WriteChain(t.Context(), t.TempDir(), []deploy.Layer{layerOf(t, file("a/b", "").With(owner(7, 0)))}, opt, quiet())
	if err == nil || err.Error() != `"a/b": uid 7 is in no range of the map` {
		t.Errorf("an owner in no range: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteChain(ctx, t.TempDir(), rich(t), options(), quiet()); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestDamagedLayers checks that a layer with a wrong digest is reported as such, whether or not the layers are measured first.
func TestDamagedLayers(t *testing.T) {
	whole := layerOf(t, file("a", "content"))
	other := digest.FromString("another")
	for name, damage := range map[string]func(l *deploy.Layer){
		"another archive": func(l *deploy.Layer) { l.DiffID = other },
		"another blob":    func(l *deploy.Layer) { l.Digest = other },
		"no archive": func(l *deploy.Layer) {
			l.Size, l.Digest = 7, other
			l.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("damaged")), nil }
		},
	} {
		for _, size := range []int64{0, MinSize} {
			opt, layer := options(), whole
			opt.Size = size
			damage(&layer)
			_, _, err := writeExt4(t, []deploy.Layer{whole, layer}, opt)
			_, err2 := WriteChain(t.Context(), t.TempDir(), []deploy.Layer{whole, layer}, opt, quiet())
			for _, err := range []error{err, err2} {
				if err == nil || !strings.Contains(err.Error(), "layer 2/2 sha256:") || !strings.Contains(err.Error(), other.String()) {
					t.Errorf("%s, size %d: %v", name, size, err)
				}
			}
		}
	}
}

// TestAttributesThatCannotBe checks that unsupported attributes are a warning, except for those of security.
func TestAttributesThatCannotBe(t *testing.T) {
	_, log, err := writeExt4(t, []deploy.Layer{layerOf(t, symlink("l", "x").With(xattr("user.x", "1")), file("f", "").With(xattr("system.other", "1")))}, options())
	if err != nil || strings.Count(log, "warning: ") != 2 {
		t.Errorf("%v, log %s", err, log)
	}
}
