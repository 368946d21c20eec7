package cli

import (
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	errSize     = errors.New("want a number with a unit, such as 500MB, 20G or 1.5TiB")
	errDuration = errors.New("want a number of hours, days or weeks, such as 12h, 30d or 8w")
)

// wait is the type of flags with a time to wait for a registry.
type wait time.Duration

// Set implements pflag.Value. A plain number is in seconds, as in a request to a source.
func (w *wait) Set(text string) error {
	if n, err := strconv.Atoi(text); err == nil {
		text = strconv.Itoa(n) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("want a number of seconds, or a time such as 90s or 5m")
	}
	*w = wait(d)
	return nil
}

// String returns the time in seconds.
func (w *wait) String() string { return fmt.Sprintf("%gs", time.Duration(*w).Seconds()) }

// Type implements pflag.Value.
func (w *wait) Type() string { return "time" }

// quantity matches a decimal number and its unit, in lower or upper case.
var quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)$`)

// sizeUnits are the units of a size, in lower case. There are no bits.
var sizeUnits = map[string]float64{
	"b": 1,
	"k": 1e3, "kb": 1e3, "ki": 1 << 10, "kib": 1 << 10,
	"m": 1e6, "mb": 1e6, "mi": 1 << 20, "mib": 1 << 20,
	"g": 1e9, "gb": 1e9, "gi": 1 << 30, "gib": 1 << 30,
	"t": 1e12, "tb": 1e12, "ti": 1 << 40, "tib": 1 << 40,
}

// parseSize parses a number of bytes with a unit, which is required: 20 could mean bytes or gigabytes. Zero is valid.
func parseSize(text string) (int64, error) {
	n, unit := splitQuantity(text)
	size, ok := sizeUnits[strings.ToLower(unit)]
	if !ok || n*size > math.MaxInt64/2 || n > 0 && n*size < 1 {
		return 0, errSize
	}
	return int64(n * size), nil
}

// durationUnits are the units of a duration. There are no minutes: some users write 1m for a month.
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

// splitQuantity returns the number and unit of a quantity. The unit is "" if text is not a quantity.
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

// sourceDateEpoch returns the time in SOURCE_DATE_EPOCH, in UTC, or nil if that is not set. See reproducible-builds.org. The
// maximum is the latest time that a tar archive can store without an extension.
func sourceDateEpoch() (*time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 8589934591 {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want a number of seconds between 0 and 8589934591", text)
	}
	at := time.Unix(n, 0).UTC()
	return &at, nil
}
