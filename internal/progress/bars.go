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
	// maxBars is how many bars are shown at a time, if the terminal has enough rows.
	maxBars = 12

	// A blob that completes sooner than this is never shown: a bar that appears and disappears between two frames
	// is only flicker.
	showAfter = 300 * time.Millisecond
)

// bars is the output of a Reporter on a terminal. mpb keeps the bars below the lines; this type decides what a bar
// looks like and when a frame is drawn. All methods are called under the Reporter's lock. mpb draws from its own
// goroutines while that lock is held, so functions that it calls (barLine) take no lock.
type bars struct {
	screen  *screen
	label   atomic.Int64 // width of the widest label so far; it never shrinks, so bars stay aligned
	shown   int
	removed bool // a bar was removed, and is still drawn
	all     *mpb.Bar
	total   total

	mpb   *mpb.Progress // nil until the first bar
	frame chan any      // asks mpb for a frame
	gone  chan any      // closed when mpb has ended: the terminal cannot be written any more
}

func newBars(w io.Writer, size func() (cols, rows int)) *bars {
	return &bars{screen: &screen{w: w, size: size}}
}

// terminal returns a function for the size of w, if w is a terminal.
func terminal(w io.Writer) (size func() (cols, rows int), ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return nil, false
	}
	fd := int(f.Fd())
	return func() (int, int) {
		cols, rows, err := term.GetSize(fd)
		if err != nil || cols < 1 || rows < 1 { // a serial console has no size
			return 80, 24
		}
		return cols, rows
	}, term.IsTerminal(fd)
}

// write prints lines above the bars. If there are bars, the lines appear with the next frame.
func (s *bars) write(line []byte) {
	if s.mpb != nil {
		_, _ = s.mpb.Write(line)
		return
	}
	_, _ = s.screen.w.Write(line)
}

// update draws a frame: bars for as many of the blobs as fit, and below them the total.
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
	if s.removed { // first, or there would be too many lines for a moment
		s.wipe()
	}
	for _, b := range active {
		if b.bar == nil && s.shown < room && now.Sub(b.began) >= showAfter {
			s.add(b)
		}
	}
	if counted {
		s.total.measure(all, active)
		s.widen(*s.total.label.Load())
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

// addAll shows the bar of the total, which stays the last one.
func (s *bars) addAll() {
	s.all = s.bar(s.total.line, mpb.BarPriority(math.MaxInt))
}

// removeAll removes the bar of the total.
func (s *bars) removeAll() {
	if s.all != nil {
		s.all.Abort(true)
		s.all = nil
		s.removed = true
	}
}

// bar creates a bar that is drawn by line.
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

// widen widens the label column to fit a label.
func (s *bars) widen(label string) {
	if w := int64(utf8.RuneCountInString(label)); w > s.label.Load() {
		s.label.Store(w)
	}
}

// remove removes the bar of the blob, with one of the next frames.
func (s *bars) remove(b *Blob) {
	if b.bar != nil {
		b.bar.Abort(true)
		b.bar = nil
		s.shown--
		s.removed = true
	}
}

// draw requests a frame. It waits for the frame before the previous one.
func (s *bars) draw() {
	if s.mpb == nil {
		return
	}
	select {
	case s.frame <- time.Now():
	case end := <-s.gone:
		s.gone <- end // for the next call
	}
}

// wipe draws frames until removed bars are gone: mpb draws them in two more frames. Each draw waits for the frame
// before the previous one, so a third is needed to know that the second was drawn.
func (s *bars) wipe() {
	for range 3 {
		s.draw()
	}
	s.removed = false
}

// close clears the screen. All bars of blobs must have been removed.
func (s *bars) close() {
	if s.mpb == nil {
		return
	}
	s.removeAll()
	s.wipe()
	s.draw()
	s.mpb.Shutdown()
}
