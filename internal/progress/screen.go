package progress

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"
)

// upAndClear wipes one line away. Wiping all at once, as mpb asks for, makes tmux
// keep them in its history when they begin at the top of the screen.
const upAndClear = "\x1b[A\x1b[2K"

// screen is the terminal as mpb sees it. mpb goes up as many lines as it has drawn
// bars, but a terminal that was made narrower has wrapped them: they take more lines
// now, and going up too few would leave the rest on the screen for ever. screen
// corrects the number. (A terminal that cuts instead of wrapping loses as many
// of the lines above; those are fewer, and the log is elsewhere.)
type screen struct {
	w     io.Writer
	size  func() (cols, rows int)
	drawn []int // widths of the lines of the last frame
}

// Write writes one frame: "go up n lines and clear", lines that stay, bars.
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

// lines is how many lines of the terminal the last n lines of the last frame take.
func (s *screen) lines(n int) int {
	cols, _ := s.size()
	total := 0
	for _, width := range s.drawn[max(0, len(s.drawn)-n):] {
		total += max(1, (width+cols-1)/cols)
	}
	return max(total, n)
}

// goUp parses what mpb begins a frame with.
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
