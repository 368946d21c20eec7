package cli

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	errSize     = errors.New("want a number with a unit, such as 500MB, 20G or 1.5TiB")
	errDuration = errors.New("want a number of hours, days or weeks, such as 12h, 30d or 8w")
)

// quantity is a decimal number and its unit. The unit may be in lower or upper case.
var quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)$`)

// sizeUnits are the units of a size, in lower case. There is none for bits.
var sizeUnits = map[string]float64{
	"b": 1,
	"k": 1e3, "kb": 1e3, "ki": 1 << 10, "kib": 1 << 10,
	"m": 1e6, "mb": 1e6, "mi": 1 << 20, "mib": 1 << 20,
	"g": 1e9, "gb": 1e9, "gi": 1 << 30, "gib": 1 << 30,
	"t": 1e12, "tb": 1e12, "ti": 1 << 40, "tib": 1 << 40,
}

// parseSize parses a number of bytes, which must have a unit: nobody can tell whether 20 is meant in
// bytes or gigabytes. Zero is a size.
func parseSize(text string) (int64, error) {
	n, unit := splitQuantity(text)
	size, ok := sizeUnits[strings.ToLower(unit)]
	if !ok || n*size > math.MaxInt64/2 || n > 0 && n*size < 1 {
		return 0, errSize
	}
	return int64(n * size), nil
}

// durationUnits are the units of a duration. There is none for minutes: people write 1m for a month.
var durationUnits = map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}

// maxDuration is more than a hundred years.
const maxDuration = 1e6 * time.Hour

// parseDuration parses a positive number of hours, days or weeks.
func parseDuration(text string) (time.Duration, error) {
	n, unit := splitQuantity(text)
	d := n * float64(durationUnits[unit])
	if d < 1 || d > float64(maxDuration) {
		return 0, errDuration
	}
	return time.Duration(d), nil
}

// splitQuantity returns the number and the unit of a quantity, "" for what is not one.
func splitQuantity(text string) (n float64, unit string) {
	m := quantity.FindStringSubmatch(text)
	if m == nil {
		return 0, ""
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, ""
	}
	return n, m[2]
}
