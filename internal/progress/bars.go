package progress

import (
	"io"
	"math"
	"os"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

const (
	// maxBars is how many bars are shown at one time, in a terminal with room.
	maxBars = 12

	// A blob that is done before this has passed is never shown: a bar that
	// comes and goes between two frames is only flicker.
	showAfter = 300 * time.Millisecond
)

// bars is the output of a Reporter on a terminal. mpb keeps the bars below the lines; what
// a bar looks like, and when a frame is drawn, is decided here. All methods are called
// under the Reporter's lock. mpb draws from goroutines of its own while that lock is
// held, so what they call (barLine) takes none.
type bars struct {
	screen  *screen
	label   atomic.Int64 // width of the widest label so far; never shrinks, so bars stay aligned
	shown   int
	removed bool // a bar was, and is still drawn
	all     *mpb.Bar
	total   total

	mpb   *mpb.Progress // nil until the first bar
	frame chan any      // asks mpb for a frame
	gone  chan any      // closed when mpb ended: the terminal cannot be written any more
}

func newBars(w io.Writer, size func() (cols, rows int)) *bars {
	return &bars{screen: &screen{w: w, size: size}}
}

// terminal returns the file behind w when it is a terminal, and how to get its size.
func terminal(w io.Writer) (size func() (cols, rows int), ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return nil, false
	}
	fd := int(f.Fd())
	return func() (int, int) {
		cols, rows, err := term.GetSize(fd)
		if err != nil || cols < 1 || rows < 1 { // a serial console knows no size
			return 80, 24
		}
		return cols, rows
	}, term.IsTerminal(fd)
}

// write prints lines above the bars. With bars they come with the next frame.
func (s *bars) write(line []byte) {
	if s.mpb != nil {
		_, _ = s.mpb.Write(line)
		return
	}
	_, _ = s.screen.w.Write(line)
}

// update draws a frame: a bar for each of the blobs, as far as there is room, and below them one for
// all.
func (s *bars) update(active []*Blob, all *sum, now time.Time) {
	_, rows := s.screen.size()
	room := min(maxBars, rows-2)
	counted := all.items > 0 && room > 1
	if counted {
		room--
	} else {
		s.removeAll()
	}
	for _, b := range active {
		b.measure(now)
		if s.shown > room {
			s.remove(b)
		}
	}
	if s.removed { // first, or there are more lines than room for a moment
		s.wipe()
	}
	for _, b := range active {
		if b.bar == nil && s.shown < room && now.Sub(b.began) >= showAfter {
			s.add(b)
		}
	}
	if counted {
		s.total.measure(all, active)
		s.widen(all.label())
		if s.mpb != nil && s.all == nil {
			s.addAll()
		}
	}
	s.draw()
}

// add shows a bar for the blob.
func (s *bars) add(b *Blob) {
	if s.mpb == nil {
		s.frame, s.gone = make(chan any), make(chan any, 1)
		s.mpb = mpb.New(mpb.WithOutput(s.screen), mpb.WithManualRefresh(s.frame), mpb.WithShutdownNotifier(s.gone))
	}
	s.widen(b.label)
	b.bar = s.bar(func(cols, label int) string { return barLine(b, cols, label, time.Now()) })
	if b.bar != nil {
		s.shown++
	}
}

// addAll shows the bar of all, which stays the last.
func (s *bars) addAll() {
	s.all = s.bar(s.total.line, mpb.BarPriority(math.MaxInt))
}

// removeAll takes the bar of all from the screen.
func (s *bars) removeAll() {
	if s.all != nil {
		s.all.Abort(true)
		s.all = nil
		s.removed = true
	}
}

// bar is a bar that looks as line says.
func (s *bars) bar(line func(cols, label int) string, opts ...mpb.BarOption) *mpb.Bar {
	filler := mpb.BarFillerFunc(func(w io.Writer, _ decor.Statistics) error {
		cols, _ := s.screen.size()
		_, err := io.WriteString(w, line(cols, int(s.label.Load())))
		return err
	})
	bar, err := s.mpb.Add(0, filler, append(opts, mpb.BarFillerTrim())...)
	if err != nil {
		return nil
	}
	return bar
}

// widen makes room for a label.
func (s *bars) widen(label string) {
	if w := int64(utf8.RuneCountInString(label)); w > s.label.Load() {
		s.label.Store(w)
	}
}

// remove takes the bar of the blob from the screen, with one of the next frames.
func (s *bars) remove(b *Blob) {
	if b.bar != nil {
		b.bar.Abort(true)
		b.bar = nil
		s.shown--
		s.removed = true
	}
}

// draw asks for a frame. It waits neither for that one nor for the last, but for the
// one before.
func (s *bars) draw() {
	if s.mpb == nil {
		return
	}
	select {
	case s.frame <- time.Now():
	case end := <-s.gone:
		s.gone <- end // for the next one who asks
	}
}

// wipe draws until the bars that were removed are gone: mpb draws them in two more
// frames. Each draw waits for the frame before the last, so the third is needed to
// know that the second was begun.
func (s *bars) wipe() {
	for range 3 {
		s.draw()
	}
	s.removed = false
}

// close wipes the screen. All bars of blobs were removed.
func (s *bars) close() {
	if s.mpb == nil {
		return
	}
	s.removeAll()
	s.wipe()
	s.draw()
	s.mpb.Shutdown()
}
