package progress

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"
)

// upAndClear clears one line. If many lines are cleared at once, as mpb does, tmux saves them in its history when
// they start at the top of the screen.
const upAndClear = "\x1b[A\x1b[2K"

// screen is the terminal as mpb sees it. mpb moves the cursor up by the number of bars it has drawn, but after a
// terminal was made narrower the bars are wrapped and take more lines, so some of them would remain on the screen.
// screen corrects the number. (On a terminal that cuts instead of wrapping, as many of the lines above are lost;
// they are fewer than those kept, and in the scrollback.)
type screen struct {
	w     io.Writer
	size  func() (cols, rows int)
	drawn []int // widths of the lines of the last frame
}

// Write writes one frame: "move up n lines and clear", new lines, bars.
func (s *screen) Write(frame []byte) (int, error) {
	rest, out := frame, []byte(nil)
	if n, after, ok := goUp(frame); ok {
		rest = after
		out = append(out, '\r')
		for range s.lines(n) {
			out = append(out, upAndClear...)
		}
	}
	s.drawn = s.drawn[:0]
	for line := range bytes.Lines(rest) {
		s.drawn = append(s.drawn, utf8.RuneCount(bytes.TrimSuffix(line, []byte("\n"))))
	}
	if _, err := s.w.Write(append(out, rest...)); err != nil {
		return 0, err
	}
	return len(frame), nil
}

// lines returns how many lines of the terminal the last n lines of the last frame take.
func (s *screen) lines(n int) int {
	cols, _ := s.size()
	total := 0
	for _, width := range s.drawn[max(0, len(s.drawn)-n):] {
		total += max(1, (width+cols-1)/cols)
	}
	return max(total, n)
}

// goUp parses the beginning of a frame of mpb.
func goUp(frame []byte) (lines int, rest []byte, ok bool) {
	head, rest, ok := bytes.Cut(frame, []byte("A\x1b[J"))
	if !ok {
		return 0, nil, false
	}
	number, ok := bytes.CutPrefix(head, []byte("\x1b["))
	if !ok {
		return 0, nil, false
	}
	lines, err := strconv.Atoi(string(number))
	return lines, rest, err == nil
}
