package progress

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// shownHex is how many digits of a digest are shown.
const shownHex = 8

// Bytes formats a number of bytes in decimal units: "999 B", "12.0 MB". All sizes shown to users are formatted by
// it.
func Bytes(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(max(n, 0), 10) + " B"
	}
	const units = "kMGTPE"
	unit, u := uint64(1000), 0
	// Round first: 999 950 is 1.0 MB, not 1000.0 kB.
	for u < len(units)-1 && (uint64(n)+unit/20)/unit >= 1000 {
		unit, u = unit*1000, u+1
	}
	tenths := (uint64(n) + unit/20) / (unit / 10)
	return strconv.FormatUint(tenths/10, 10) + "." + strconv.FormatUint(tenths%10, 10) + " " + units[u:u+1] + "B"
}

// Count formats a number with its noun: "1 layer", "2 layers", "3 entries".
func Count[N int | int64](n N, noun string) string {
	if stem, ok := strings.CutSuffix(noun, "y"); ok && n != 1 {
		noun = stem + "ie"
	}
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(int64(n), 10) + " " + noun
}

// Short shortens a digest: "sha256:0123abcd…".
func Short(digest string) string {
	algorithm, _, ok := strings.Cut(digest, ":")
	if !ok {
		return shortHex(digest)
	}
	return Clean(algorithm) + ":" + shortHex(digest)
}

// shortHex is Short without the algorithm.
func shortHex(digest string) string {
	hex := digest[strings.IndexByte(digest, ':')+1:]
	if len(hex) > shownHex {
		return Clean(hex[:shownHex]) + "…"
	}
	return Clean(hex)
}

// seconds formats a duration: "0.4 s", "75.0 s", "12m30s".
func seconds(d time.Duration) string {
	if d >= 100*time.Second {
		return d.Round(time.Second).String()
	}
	return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 1, 64) + " s"
}

// percent returns 100 only if have reaches size, and never more.
func percent(have, size int64) int64 {
	if have >= size {
		return 100
	}
	hi, lo := bits.Mul64(uint64(max(have, 0)), 100)
	q, _ := bits.Div64(hi, lo, uint64(size))
	return int64(q)
}

// rate returns n bytes per the time took, in bytes per second.
func rate(n int64, took time.Duration) int64 {
	if n <= 0 || took <= 0 {
		return 0
	}
	return int64(float64(n) / took.Seconds())
}
