package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"

	"osbuild-containers/test/layers"
)

// largeWindow returns a blob whose frame needs a large window, and what it expands to.
func largeWindow() (blob, plain []byte) {
	plain = noise(rand.New(rand.NewPCG(3, 4)), maxFrame+1<<20, 2)
	return layers.Zstd(plain, 26), plain
}

// Streams wait for a large window, but none for one that is read ahead, and none that needs no such window.
func TestLargeWindowsAreFew(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16)) // for two windows
	small := framesOf(t, true, []byte("small"))
	large, plain := largeWindow()
	late := slices.Concat(small, large) // not in the first frame
	want := append([]byte("small"), plain...)
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(0)
		newStream := func(ahead bool) (s *Stream, read func() bool) {
			s = start(t.Context(), blobOf(late, want), budget, NewTally(Limits{}), ahead)
			var b bytes.Buffer
			done := make(chan error, 1)
			begin := sync.OnceFunc(func() {
				go func() {
					_, err := io.CopyN(&b, s, 6) // begins with the large frame
					done <- err
				}()
			})
			return s, func() bool {
				begin()
				synctest.Wait()
				select {
				case err := <-done:
					if err != nil || b.String() != string(want[:6]) {
						t.Errorf("got %q, %v", b.Bytes(), err)
					}
					return true
				default:
					return false
				}
			}
		}
		check := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: data are %t, want %t", what, got, want)
			}
		}
		first, readFirst := newStream(true)
		check("the first ahead", readFirst(), true)
		second, readSecond := newStream(true)
		check("the second ahead", readSecond(), false)

		third, readThird := newStream(false)
		check("one that is not ahead", readThird(), true)
		fourth, readFourth := newStream(false)
		check("another", readFourth(), false)
		other, err := io.ReadAll(start(t.Context(), blobOf(small, []byte("small")), budget, NewTally(Limits{}), true))
		check("a small window", err == nil && string(other) == "small", true)

		third.Close()
		third.Close() // gives nothing back again
		check("another, after a window was given back", readFourth(), true)
		check("the second ahead, still", readSecond(), false)
		second.Prioritize()
		check("prioritized", readSecond(), false)
		first.Close()
		check("prioritized, after a window was given back", readSecond(), true)
		second.Close()

		fifth, readFifth := newStream(true)
		check("ahead, with one window left", readFifth(), false)
		fifth.Prioritize()
		check("prioritized, with one window left", readFifth(), true)
		sixth, readSixth := newStream(true)
		check("ahead, with no window left", readSixth(), false)
		sixth.Close() // ends the waiting
		fifth.Close()
		fourth.Close()
		synctest.Wait()
		if budget.windows != newWindows() {
			t.Errorf("there are %d windows at the end, want %d", budget.windows, newWindows())
		}
	})
}

// Streams that need windows of both kinds, in any order, do not wait for each other.
func TestWindowsOfBothKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(0)
		b.windows = windows{medium: 1, large: 1}
		one, two := &share{b: b}, &share{b: b}
		if !one.window(mediumWindow) || !two.window(mediumWindow+1) {
			t.Error("a window is refused")
		}
		done := make(chan bool)
		go func() { done <- one.window(mediumWindow + 1) }()
		synctest.Wait()
		if !two.window(mediumWindow) || two.windows != (windows{large: 1}) {
			t.Errorf("a large window and %d", two.windows)
		}
		two.release()
		if !<-done {
			t.Error("no window after it was given back")
		}
		one.release()
		if b.windows != (windows{medium: 1, large: 1}) {
			t.Errorf("there are %d windows at the end", b.windows)
		}
	})
}

// frameForms returns a frame of each form.
func frameForms(t testing.TB) map[string][]byte {
	t.Helper()
	large, _ := largeWindow()
	return map[string][]byte{
		"empty":     framesOf(t, true, nil),
		"one block": framesOf(t, true, []byte("a")),
		"no size":   framesOf(t, false, make([]byte, 500_000)),
		"checksum":  zstdd(t, []byte("abc"), zstd.WithEncoderCRC(true)),
		"none":      zstdd(t, []byte("abc"), zstd.WithEncoderCRC(false)),
		"skippable": skippable("abc"),
		"nothing":   skippable(""),
		"large":     large,
		"one piece": zstdd(t, make([]byte, mediumWindow+1), zstd.WithWindowSize(2*mediumWindow), zstd.WithSingleSegment(true)),
	}
}

// A walk over the structure of a blob ends where its frames end.
func TestWalk(t *testing.T) {
	for name, frame := range frameForms(t) {
		var w walk
		at := 0
		for ; !w.end && at < len(frame); at++ {
			n, err := w.next(frame[at])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			at += int(n)
		}
		if !w.end || at != len(frame) {
			t.Errorf("%s: the frame ends at %d (%t), want %d", name, at, w.end, len(frame))
		}
		if got := w.blocks && w.window() > mediumWindow; got != (name == "large" || name == "one piece") {
			t.Errorf("%s: a large window is %t", name, got)
		}
	}
	if _, err := (&walk{}).next(0); err != nil {
		t.Errorf("the first byte: %v", err)
	}
}

// The gate passes on everything, in whatever pieces it is read.
func TestGatePassesOn(t *testing.T) {
	frame, _ := largeWindow()
	blob := slices.Concat(framesOf(t, true, []byte("a"), nil), skippable("xyz"), frame, framesOf(t, false, []byte("b")), []byte("no frame"))
	for _, most := range []int{1, 7, 100_000, len(blob)} {
		g := &gate{r: io.LimitReader(bytes.NewReader(blob), int64(len(blob))), share: &share{b: NewBudget(0)}}
		var got []byte
		buf := make([]byte, most)
		for {
			n, err := g.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
		}
		if !bytes.Equal(got, blob) || g.share.windows != (windows{large: 1}) {
			t.Errorf("in pieces of %d: %d of %d bytes, windows taken: %d", most, len(got), len(blob), g.share.windows)
		}
	}
}

// reads records where reads begin, and what was read.
type reads struct {
	bytes.Reader
	at   map[int64]bool
	read int64
}

func (r *reads) Read(p []byte) (int, error) {
	r.at[r.read] = true
	n, err := r.Reader.Read(p)
	r.read += int64(n)
	return n, err
}

// The decoder gets the same data and the same error through the gate, and reads the headers where a walk finds them.
func FuzzGate(f *testing.F) {
	for name, frame := range frameForms(f) {
		if name != "large" && name != "one piece" { // slow
			f.Add(slices.Concat(frame, framesOf(f, true, []byte("a"))))
			f.Add(frame[:len(frame)-1])
		}
	}
	f.Add(append(framesOf(f, true, []byte("a")), "tail"...))
	f.Fuzz(func(t *testing.T, blob []byte) {
		want, wantErr := asStream(blob)
		r := &reads{Reader: *bytes.NewReader(blob), at: map[int64]bool{}}
		d, err := zstd.NewReader(&gate{r: r, share: &share{b: NewBudget(0)}}, options...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(d)
		if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%d bytes, %v; want %d bytes, %v", len(got), err, len(want), wantErr)
		}
		var w walk
		var at, header int64 // offsets in the blob: of the next byte, and of the header that it is in
		for at < r.read {
			if at == header && !r.at[at] {
				t.Errorf("a header at %d, where no read begins", at)
			}
			if w.end {
				w = walk{}
			}
			skip, invalid := w.next(blob[at])
			if invalid != nil {
				if err == nil {
					t.Errorf("at %d: %v", at, invalid)
				}
				break
			}
			if at++; len(w.bytes) > 0 {
				continue
			}
			if at < r.read && !r.at[at] {
				t.Errorf("a header ends at %d, where no read begins", at)
			}
			at += skip
			header = at
		}
		if err == nil && (at != int64(len(blob)) || at > 0 && !w.end) {
			t.Errorf("the last frame ends at %d (%t), want %d", at, w.end, len(blob))
		}
	})
}
