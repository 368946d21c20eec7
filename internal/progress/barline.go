package progress

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	minFill = 5 // a shorter bar is not readable

	// maxCols is the maximum width of a line, on wider terminals too. Lines within it do not wrap when a wide
	// terminal is resized to a usual width.
	maxCols = 80

	maxShortName = 16
	countsWidth  = len("123.4 MB / 123.4 MB")
	speedWidth   = len("123.4 MB/s")
)

// barLine formats a blob for a terminal with that many columns. If there is not enough space, it omits the bar and
// then cuts the rest, since a line that wraps could not be erased. The last column is not used, because some
// terminals wrap when it is written.
func barLine(b *Blob, cols, labelWidth int, now time.Time) string {
	cols = min(cols, maxCols)
	if state(b.state.Load()) == waiting {
		return cutRunes(padRight(b.label, labelWidth)+"  waiting for another process", cols-1)
	}
	speed := Bytes(b.speed.Load()) + "/s"
	if wait := time.Duration(b.retryAt.Load() - now.UnixNano()); wait > 0 {
		speed = "retry " + strconv.Itoa(int((wait+time.Second-1)/time.Second)) + " s"
	}
	return line(b.label, labelWidth, b.have.Load(), b.size, speed, cols)
}

// line formats a bar with its label, the bytes present, the total (negative: unknown) and the speed.
func line(label string, labelWidth int, have, size int64, speed string, cols int) string {
	left, counts := padRight(label, labelWidth), Bytes(have)
	if size >= 0 {
		counts += " / " + Bytes(size)
	}
	right := padLeft(counts, countsWidth) + "  " + padLeft(speed, speedWidth)
	room := cols - 1 - utf8.RuneCountInString(left) - len("  []  ") - len(right)
	if room < minFill {
		return cutRunes(label+"  "+counts+"  "+speed, cols-1)
	}
	return left + "  " + fill(have, size, room) + "  " + right
}

// fill draws the bar itself, with room characters between its ends.
func fill(have, size int64, room int) string {
	if size <= 0 {
		return " " + strings.Repeat(" ", room) + " "
	}
	full := int(percent(have, size)) * room / 100
	if full == room {
		return "[" + strings.Repeat("=", room) + "]"
	}
	return "[" + strings.Repeat("=", full) + ">" + strings.Repeat(" ", room-full-1) + "]"
}

// shortName shortens an item's name for a bar: "fedora" of
// "registry.example/fedora:41@sha256:0123abcd…".
func shortName(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name = name[strings.LastIndexByte(name, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return cutRunes(name, maxShortName)
}

func padRight(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

// cutRunes shortens s to width characters and marks that it did.
func cutRunes(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	runes := []rune(s)
	return string(runes[:width-1]) + "…"
}
