package cli

import (
	"testing"
	"time"
)

// A size that could be meant in another unit is refused, in particular one without a unit.
func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"20g": 20e9, "20gb": 20e9, "20G": 20e9, "20GB": 20e9, "20 GB": 20e9,
		"20GiB": 20 << 30, "20gib": 20 << 30, "20Gi": 20 << 30,
		"500MB": 500e6, "1.5TiB": 3 << 39, "0.5k": 500, "1b": 1, "1B": 1, "0B": 0, "0G": 0,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "20", "0", "1e9", "20000000000", "G", "GB", "-1G", "+1G", ".5G", "5.G", "1e3G", "0x1G", "infG", "nanG",
		"20GG", "20Gbit", "20G B", "20  G", "20G ", " 20G", "1,5G", "0.1B", "9999999T", "1_000M", "20%", "20G;",
	} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"12h": 12 * time.Hour, "30d": 30 * day, "8w": 56 * day, "1.5d": 36 * time.Hour, "0.5h": 30 * time.Minute, "2 d": 2 * day,
	} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "30", "0", "1m", "5m", "90s", "1ns", "1M", "30D", "1y", "1mo", "1h30m", "1d12h", "0d", "0h", "-1d", "+1d", "d", "1e3h",
		"infd", "9999999999w", "1 month", "30 days",
	} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}
