package image

import (
	"io"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// throttled is until when a registry made the library wait (unix nanoseconds), see Throttled.
var throttled atomic.Int64

// throttleText is how the library says that it waits because of status 429.
var throttleText = regexp.MustCompile(`^Too many requests to (\S+): sleeping for ([0-9.]+) seconds`)

// Throttled is until when the library, opening an image, waits because a registry asked it to.
// The time of such a wait is not a stall.
func Throttled() time.Time { return time.Unix(0, throttled.Load()) }

// RouteLogs sends what the libraries log, warnings and worse, to note, a line each.
func RouteLogs(note func(format string, args ...any)) {
	logrus.SetOutput(io.Discard)
	logrus.SetFormatter(unformatted{})
	logrus.SetLevel(logrus.DebugLevel) // the wait for a 429 is told at this level only
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(logHook{note})
}

// unformatted saves the work for what is discarded: the hook has the message itself.
type unformatted struct{}

func (unformatted) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

type logHook struct {
	note func(format string, args ...any)
}

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h logHook) Fire(e *logrus.Entry) error {
	if e.Level <= logrus.WarnLevel {
		h.note("%s: %s", e.Level, e.Message)
		return nil
	}
	noteOrigin(e.Message)
	if m := throttleText.FindStringSubmatch(e.Message); m != nil {
		seconds, _ := strconv.ParseFloat(m[2], 64)
		wait := time.Duration(seconds * float64(time.Second))
		throttled.Store(time.Now().Add(wait).UnixNano())
		h.note("429 Too Many Requests from %s: trying again in %s", redact(m[1]), wait.Round(time.Second))
	}
	return nil
}
