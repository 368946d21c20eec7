package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var (
	errSize     = errors.New("want a number of bytes with a unit, such as 500MB, 20GB or 1.5TiB")
	errDuration = errors.New("want a time such as 12h, 30d or 8w")
)

// units are what a size may end with.
var units = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"k", 1e3},
	{"K", 1e3},
	{"M", 1e6},
	{"G", 1e9},
	{"T", 1e12},
}

// parseSize reads a positive number of bytes, as progress.Bytes writes it.
func parseSize(text string) (int64, error) {
	number, unit := text, 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*unit >= 1) || n*unit > math.MaxInt64/2 {
		return 0, errSize
	}
	return int64(n * unit), nil
}

// parseDuration reads a positive time, in days and weeks too.
func parseDuration(text string) (time.Duration, error) {
	for unit, hours := range map[string]float64{"d": 24, "w": 7 * 24} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n > 0) || n*hours > 1e6 {
			return 0, errDuration
		}
		return time.Duration(n * hours * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, errDuration
	}
	return d, nil
}
