package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/progress"
	"osbuild-containers/test/layers"
)

// order is how layers are read.
type order struct {
	procs int
	most  int64 // 0: as usual
}

// anyOrder is one for so many layers at a time.
func anyOrder(procs int) order {
	o := order{procs: procs}
	if rand.IntN(3) == 0 {
		o.most = 1 + rand.Int64N(2000)
	}
	return o
}

// deployIn deploys in an order, with delays wherever goroutines may run in another one.
func (p place) deployIn(t testing.TB, o order, opt Options, layers ...Layer) (log string, err error) {
	t.Helper()
	before := p.surroundings(t)
	var b bytes.Buffer
	d, err := deployerIn(p.tree, layers, opt, progress.NewLog(&b))
	if err != nil {
		return "", err
	}
	defer d.tree.Close()
	if d.procs = o.procs; o.most > 0 {
		d.most = o.most
	}
	d.pause = func(int) {
		switch rand.IntN(8) {
		case 0:
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
		case 1, 2, 3:
			runtime.Gosched()
		}
	}
	err = d.run(context.Background())
	if after := p.surroundings(t); after != before {
		t.Fatalf("outside of the tree there was\n%sand is\n%s", before, after)
	}
	return b.String(), err
}

// jumble gives entries owners, modes, attributes and contents, some of them such as cannot be.
func jumble(rnd *rand.Rand, layers [][]item) {
	for _, items := range layers {
		for i := range items {
			h := &items[i].Header
			h.Mode, h.ModTime = int64(rnd.IntN(0o10000)), when.Add(time.Duration(rnd.IntN(1000))*time.Second)
			switch rnd.IntN(30) {
			case 0:
				h.Uid = 1 << 32
			case 1, 2, 3:
				h.Uid, h.Gid = rnd.IntN(5), rnd.IntN(5)
			case 4:
				items[i] = xattr(items[i], "security.capability", capNetRaw)
			case 5:
				items[i] = xattr(items[i], "user.lab", "x")
			case 6:
				items[i] = xattr(items[i], "nonsense.x", "a warning")
			case 7:
				items[i] = xattr(items[i], "security.capability", "an error")
			case 8:
				if items[i].Body != "" {
					items[i].Body = strings.Repeat(items[i].Body, 300<<10)
					h.Size = int64(len(items[i].Body))
				}
			}
		}
	}
}

// How many layers are read at a time, and which is faster than which, changes nothing: neither
// the tree nor the error nor what the log says.
func TestAnyOrderGivesTheSame(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	failed := 0
	const rounds = 50
	for range rounds {
		data := make([]byte, 3*(2+rnd.IntN(20)))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		items := script(data)
		jumble(rnd, items)
		var layers []Layer
		for _, l := range items {
			plain := archive(t, l...)
			if rnd.IntN(20) == 0 {
				plain = plain[:rnd.IntN(len(plain))]
			}
			l := zipped(t, plain)
			if rnd.IntN(2) == 0 {
				l = framed(t, plain, 512+rnd.IntN(1<<20))
			}
			layers = append(layers, l)
			if rnd.IntN(20) == 0 {
				layers[len(layers)-1].Size++
			}
		}
		opt := Options{Epoch: when}
		switch rnd.IntN(5) {
		case 0:
			opt.Exclude = []string{"a/b", "**/c"}
		case 1:
			opt.Limits = Limits{Entries: 1 + rnd.Int64N(20)}
		case 2:
			opt.Limits = Limits{ImageBytes: 2 + rnd.Int64N(8<<10)}
		case 3:
			opt.IgnoreOwners = true
		}
		outcome := func(procs int) string {
			p := newPlace(t)
			log, err := p.deployIn(t, anyOrder(procs), opt, layers...)
			if err != nil {
				failed++
				return fmt.Sprint(err, "\n", p.show(t))
			}
			meta := p.metadata(t)
			if root := strings.Fields(meta["."]); len(root) > 2 && !strings.HasPrefix(root[2], "17000") {
				meta["."] = root[0] // the time of now
			}
			return fmt.Sprint(p.show(t), "\n", meta, "\n", withoutTimes(log))
		}
		want := outcome(1)
		for _, procs := range []int{2, 5} {
			if got := outcome(procs); got != want {
				t.Fatalf("%d at a time:\n%.2000s\none at a time:\n%.2000s\nof %.2000s", procs, got, want, tell(items))
			}
		}
	}
	if failed == 0 || failed == 3*rounds {
		t.Errorf("%d of %d failed: want some", failed, 3*rounds)
	}
}

// withoutTimes returns a log without how long each layer and all of them took.
func withoutTimes(log string) string {
	return regexp.MustCompile(`(,| in) [0-9.]+ s\n`).ReplaceAllString(log, "\n")
}

// held makes the highest layer wait until the others were read to their end.
func held(layers ...Layer) []Layer {
	read := make(chan struct{}, len(layers))
	for i := range layers {
		open := layers[i].Open
		if i == len(layers)-1 {
			layers[i].Open = func() (io.ReadCloser, error) {
				for range len(layers) - 1 {
					<-read
				}
				time.Sleep(50 * time.Millisecond) // so that they are most likely written, too
				return open()
			}
			continue
		}
		layers[i].Open = func() (io.ReadCloser, error) {
			r, err := open()
			return &signalling{r, read}, err
		}
	}
	return layers
}

type signalling struct {
	io.ReadCloser
	closed chan<- struct{}
}

func (s *signalling) Close() error {
	select {
	case s.closed <- struct{}{}:
	default: // it is read again
	}
	return s.ReadCloser.Close()
}

// An error of a layer is the one of the highest, also if a lower one had it first.
func TestTheHighestLayersErrorCounts(t *testing.T) {
	low, mid := layerOf(t, file("a")), layerOf(t, file("b"))
	low.DiffID, mid.DiffID = mid.DiffID, low.DiffID
	_, err := newPlace(t).deployIn(t, order{procs: 4}, Options{}, held(low, mid, layerOf(t, file("c")))...)
	if err == nil || !strings.HasPrefix(err.Error(), "layer 2/3 ") {
		t.Errorf("error %v", err)
	}
}

// An error in the content of a file names the file, also if it was met ahead.
func TestAnErrorAheadNamesTheFile(t *testing.T) {
	plain := archive(t, file("a", strings.Repeat("x", 600<<10)))
	low := blob(plain[:400<<10], plain[:400<<10])
	_, err := newPlace(t).deployIn(t, order{procs: 2}, Options{}, held(low, layerOf(t, file("b")))...)
	if err == nil || !strings.HasSuffix(err.Error(), `: "a": the archive ends in the middle of an entry`) {
		t.Errorf("error %v", err)
	}
}

// What is ahead goes when it leaves no room for what is to be there at the end.
func TestWhatIsAheadMakesRoom(t *testing.T) {
	noise := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	big := string(noise)
	var made, hidden, removed []item
	for i := range 10 {
		name := fmt.Sprint("h", i)
		made, hidden, removed = append(made, directory(fmt.Sprint("d", i))), append(hidden, file(name)), append(removed, file(".wh."+name))
	}
	for name, c := range map[string]struct {
		sizes  []string
		layers [][]item
		want   string
	}{
		"for the layer that is merged": {
			[]string{"size=4m", "size=8m", "size=14m"},
			[][]item{{file("a", big), file("low", "x")}, {file("b", big), file("a", "x")}, {file("c", big), file("b", "x")}, {file("d", big), file("c", "x")}},
			"a=x b=x c=x d=" + big + " low=x",
		},
		"for itself": {
			[]string{"size=1m"},
			[][]item{{file("a", big[:700<<10]), file("low", big[:500<<10])}, {file(".wh.a")}},
			"low=" + big[:500<<10],
		},
		"for itself, in its turn": {
			[]string{"nr_inodes=16"}, // of 12 that the tree needs, and 2
			[][]item{slices.Concat([]item{file("a", "x")}, made, hidden), removed},
			"a=x d0/ d1/ d2/ d3/ d4/ d5/ d6/ d7/ d8/ d9/",
		},
	} {
		for _, size := range c.sizes {
			p := newPlace(t)
			if err := unix.Mount("none", p.tree, "tmpfs", 0, size); err != nil {
				t.Fatal(err)
			}
			var all []Layer
			for _, l := range c.layers {
				all = append(all, layerOf(t, l...))
			}
			_, err := p.deployIn(t, order{procs: 4}, Options{}, held(all...)...)
			if err != nil {
				t.Errorf("%s, %s: %v", name, size, err)
			} else if got := p.show(t); got != c.want {
				t.Errorf("%s, %s: got %.100s", name, size, got)
			}
			if err := unix.Unmount(p.tree, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A mount in the tree is another file system: what was written ahead is copied there.
func TestAMountInTheTree(t *testing.T) {
	p := newPlace(t)
	mkdir(t, p, "boot")
	if err := unix.Mount("none", p.tree+"/boot", "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(p.tree+"/boot", 0) }()
	low := layerOf(t, file("boot/kernel", "K").With(func(h *tar.Header) { h.Uid = 7 }), file("a", "1"))
	if _, err := p.deployIn(t, order{procs: 2}, Options{}, held(low, layerOf(t, file("b", "2")))...); err != nil {
		t.Fatal(err)
	}
	if got, want := p.show(t), "a=1 b=2 boot/ boot/kernel=K"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m := p.metadata(t)["boot/kernel"]; !strings.Contains(m, " 7:0 ") {
		t.Errorf("boot/kernel: %s", m)
	}
}

// Reading ahead leaves nothing behind, not even a time, also where the tree is read only to
// the image.
func TestNothingIsLeftOfReadingAhead(t *testing.T) {
	bad := layerOf(t, file("x"))
	bad.Open = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	for name, top := range map[string]Layer{"success": layerOf(t), "failure": bad} {
		p := newPlace(t)
		mkdir(t, p, "mine")
		old := unix.Timespec{Sec: 1000, Nsec: 5}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p.tree, []unix.Timespec{old, old}, 0); err != nil {
			t.Fatal(err)
		}
		_, err := p.deployIn(t, order{procs: 4}, Options{}, held(layerOf(t, file("mine/a", "1")), layerOf(t, file("mine/a", "2")), top)...)
		if (err != nil) != (name == "failure") {
			t.Errorf("%s: error %v", name, err)
		}
		want := "mine/ mine/a=2"
		if err != nil {
			want = "mine/"
		}
		if got := p.show(t); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		var st unix.Stat_t
		if err := unix.Lstat(p.tree, &st); err != nil || st.Mtim != old {
			t.Errorf("%s: the root has the time %v, error %v", name, st.Mtim, err)
		}
	}
}

// What is lost of files that were written ahead is counted once, and of hidden ones not at all.
func TestLossesAreCountedOnce(t *testing.T) {
	var layers []Layer
	for _, name := range []string{"a", "b", "c"} {
		acl := xattr(owned(file(name), 0, 0), aclAccess, namedACL)
		layers = append(layers, layerOf(t, owned(file("hidden"), 7, 8), owned(file("l"+name), 9, 9), acl))
	}
	layers = append(layers, layerOf(t, owned(file("hidden"), 0, 0)))
	for _, procs := range []int{1, 2, 8} {
		all := slices.Clone(layers)
		if procs > 1 {
			held(all...)
		}
		log, err := newPlace(t).deployIn(t, order{procs: procs}, Options{IgnoreOwners: true}, all...)
		if err != nil {
			t.Fatal(err)
		}
		wantWarnings(t, log,
			`owners are ignored: 3 are not kept, the first is 9:9 of "lc"`,
			`owners are ignored, and so are ACLs with users or groups: 3 are not set, the first is system.posix_acl_access of "c"`,
		)
	}
}

// A layer that is begun ahead can be read far: it stops for good when the limits are reached.
func TestNoneBeginsBeforeHalfIsFree(t *testing.T) {
	p := newPlace(t)
	d, err := deployerIn(p.tree, []Layer{layerOf(t), layerOf(t, file("a")), layerOf(t)}, Options{}, progress.NewLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer d.tree.Close()
	d.procs = 2
	a := d.startAhead(t.Context())
	begun := func(memory, disk int64) bool {
		a.memory.Store(memory)
		a.disk.Store(disk)
		a.begin()
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.readers[1] != nil || a.readers[2] != nil || a.readers[3] != nil
	}
	if begun(d.most/2, 0) || begun(0, d.limits.LayerBytes/2) {
		t.Error("a layer was begun while less than half was free")
	}
	if !begun(d.most/2-1, d.limits.LayerBytes/2-1) {
		t.Error("no layer was begun")
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
}

// Layers that stop before their end hold memory, so few are begun.
func TestFewLayersStop(t *testing.T) {
	const limit = 16 << 10
	p := newPlace(t)
	d, err := deployerIn(p.tree, slices.Repeat([]Layer{layerOf(t, file("a", string(make([]byte, limit/2+2))))}, 10),
		Options{Limits: Limits{LayerBytes: limit}}, progress.NewLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer d.tree.Close()
	d.procs = 3
	a := d.startAhead(t.Context())
	a.disk.Store(limit/2 - 1) // a layer may begin, and its file has no room
	a.begin()
	begun := func() (readers []*reader) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.DeleteFunc(slices.Clone(a.readers), func(r *reader) bool { return r == nil })
	}
	n := 0
	for readers := begun(); len(readers) > n; readers = begun() {
		n = len(readers)
		for _, r := range readers {
			<-r.ended // it has begun the next
		}
	}
	if n < d.procs || n >= 2*d.procs {
		t.Errorf("%d layers were begun", n)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
}

// Layers that need large windows of zstd, of which there is memory for one, are deployed in any order, also if they
// are read again.
func TestLargeWindows(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var stack []Layer
	want := ""
	for k := range 6 {
		name, content := fmt.Sprint("file-", k), strings.Repeat(fmt.Sprint(k), 5<<20)
		plain := archive(t, file("all", content), file(name, content))
		data := layers.Zstd(plain, 24+k%3)
		if k == 3 {
			data = slices.Concat(layers.Zstd(nil, 10), data)
		}
		stack = append(stack, blob(data, plain))
	}
	for _, procs := range []int{1, 2, 5} {
		p := newPlace(t)
		if _, err := p.deployIn(t, order{procs: procs}, Options{Epoch: when}, stack...); err != nil {
			t.Fatal(err)
		}
		got := p.show(t)
		if want == "" {
			want = got
		}
		if got != want || !strings.Contains(got, "file-5") {
			t.Errorf("%d at a time:\n%.1000s\nwant\n%.1000s", procs, got, want)
		}
	}
}
