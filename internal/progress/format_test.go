package progress

import (
	"math"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		-1:            "0 B",
		0:             "0 B",
		999:           "999 B",
		1000:          "1.0 kB",
		1049:          "1.0 kB",
		1050:          "1.1 kB",
		999_949:       "999.9 kB",
		999_950:       "1.0 MB",
		12_000_000:    "12.0 MB",
		123_449_999:   "123.4 MB",
		1_500_000_000: "1.5 GB",
		math.MaxInt64: "9.2 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 layers":  Count(0, "layer"),
		"1 layer":   Count(1, "layer"),
		"2 layers":  Count(2, "layer"),
		"1 entry":   Count(int64(1), "entry"),
		"3 entries": Count(int64(3), "entry"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for digest, want := range map[string]string{
		"sha256:0123abcd4567ef89": "sha256:0123abcd…",
		"sha256:0123abcd":         "sha256:0123abcd",
		"0123abcd4567ef89":        "0123abcd…",
		"\x1b:\x1b":               `\x1b:\x1b`,
		"":                        "",
	} {
		if got := Short(digest); got != want {
			t.Errorf("Short(%q) = %q, want %q", digest, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:             "0.0 s",
		40 * time.Millisecond:    "0.0 s",
		1500 * time.Millisecond:  "1.5 s",
		75 * time.Second:         "75.0 s",
		99960 * time.Millisecond: "100.0 s",
		750 * time.Second:        "12m30s",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestPercentIsFullOnlyAtTheEnd(t *testing.T) {
	for _, test := range []struct{ have, size, want int64 }{
		{0, 10, 0},
		{-5, 10, 0},
		{999, 1000, 99},
		{1000, 1000, 100},
		{1001, 1000, 100},
		{math.MaxInt64 - 1, math.MaxInt64, 99},
	} {
		if got := percent(test.have, test.size); got != test.want {
			t.Errorf("percent(%d, %d) = %d, want %d", test.have, test.size, got, test.want)
		}
	}
}
