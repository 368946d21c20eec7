package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxRatio is how many times as long as compress/gzip this package may take, for any input.
const maxRatio = 4

// bitWriter writes deflate data bit by bit.
type bitWriter struct {
	out []byte
	acc uint64
	n   uint
}

func (w *bitWriter) put(v uint64, count uint) {
	w.acc |= v << w.n
	for w.n += count; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// dynamic writes the header of a block with codes of the given lengths; the end of the block has the code 0.
func (w *bitWriter) dynamic(end uint64) {
	w.put(2<<1, 3)
	w.put(0, 5)  // 257 symbols
	w.put(0, 5)  // one distance
	w.put(14, 4) // 18 sizes of the code for sizes: 18 and 1 have one bit
	for i := range 18 {
		switch order[i] {
		case 1, 18:
			w.put(1, 3)
		default:
			w.put(0, 3)
		}
	}
	zeros := func(n uint64) { w.put(1|(n-11)<<1, 8) } // 18, the larger symbol, is 1
	zeros(138)
	zeros(118) // 256 symbols without a code
	w.put(0, 1)
	w.put(0, 1) // the distance
	w.put(end, 1)
}

// hard returns blocks without output in as few bits as possible, and others with expensive tables for little output.
func hard() map[string][]byte {
	const size = 64 << 10
	blocks := func(one func(w *bitWriter)) []byte {
		w := &bitWriter{}
		for len(w.out) < size {
			one(w)
		}
		w.put(1|1<<1, 3)
		w.put(0, 7+8)
		return w.out
	}
	var small []byte
	for n := range 2000 {
		var b bytes.Buffer
		f, _ := flate.NewWriter(&b, 9)
		_, _ = f.Write([]byte{byte(n), byte(n >> 8), 1, 2, 3, 4})
		_ = f.Flush()
		small = append(small, b.Bytes()...)
	}
	return map[string][]byte{
		"empty fixed blocks":   blocks(func(w *bitWriter) { w.put(1<<1, 3); w.put(0, 7) }),
		"empty dynamic blocks": blocks(func(w *bitWriter) { w.dynamic(0) }),
		"empty stored blocks":  append(bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, size/5), 1, 0, 0, 0xff, 0xff),
		"small blocks":         append(small, 1, 0, 0, 0xff, 0xff),
	}
}

// member returns a gzip member of the part of the data that the library can decompress, or nil.
func member(deflated []byte) []byte {
	in := bytes.NewReader(deflated)
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(in), 1<<20+1))
	if err != nil || len(plain) > 1<<20 {
		return nil
	}
	m := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, deflated[:len(deflated)-in.Len()]...)
	m = binary.LittleEndian.AppendUint32(m, crc32.ChecksumIEEE(plain))
	return binary.LittleEndian.AppendUint32(m, uint32(len(plain)))
}

// times returns the least CPU times, of several runs, of this package and of compress/gzip.
func times(t *testing.T, zipped []byte) (ours, library time.Duration) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spent := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	least := func(best *time.Duration, f func() error) {
		began := spent()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if d := spent() - began; *best == 0 || d < *best {
			*best = max(d, 1)
		}
	}
	buf := make([]byte, History+256<<10)
	for range 5 {
		least(&ours, func() error {
			r := New(pieces(zipped, 128<<10))
			for {
				if _, err := r.Fill(buf); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
		})
		least(&library, func() error {
			r, err := gzip.NewReader(bytes.NewReader(zipped))
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			return err
		})
	}
	return ours, library
}

// compare fails the test if the input takes too long. Fast inputs are repeated until they can be measured.
func compare(t *testing.T, m []byte) {
	t.Helper()
	const slack = 2 * time.Millisecond // tolerance for the clock and cold caches
	zipped := bytes.Repeat(m, max(1, (256<<10)/len(m)))
	ours, library := times(t, zipped)
	if ours > maxRatio*library+slack {
		t.Errorf("%d bytes take %v, compress/gzip %v: want at most %d times as long", len(zipped), ours, library, maxRatio)
	}
	t.Logf("%d bytes: %v, compress/gzip %v", len(zipped), ours, library)
}

func TestNoInputTakesLong(t *testing.T) {
	all := hard()
	for name, data := range samples(t) {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, 6)
		_, _ = w.Write(data)
		_ = w.Close()
		all[name] = b.Bytes()
	}
	for name, deflated := range all {
		t.Run(name, func(t *testing.T) {
			m := member(deflated)
			if m == nil {
				t.Fatal("the library cannot read it")
			}
			compare(t, m)
		})
	}
}

// FuzzTime searches for inputs that take much longer than with compress/gzip.
func FuzzTime(f *testing.F) {
	for _, deflated := range hard() {
		f.Add(deflated[:1000])
		f.Add(deflated)
	}
	f.Fuzz(func(t *testing.T, deflated []byte) {
		if m := member(deflated); m != nil {
			compare(t, m)
		}
	})
}
