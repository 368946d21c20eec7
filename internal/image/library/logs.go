package library

import (
	"io"

	"github.com/sirupsen/logrus"
)

// RouteLogs sends the libraries' warnings and errors to note, one line each.
func RouteLogs(note func(format string, args ...any)) {
	logrus.SetOutput(io.Discard)
	logrus.SetFormatter(unformatted{})
	logrus.SetLevel(logrus.WarnLevel)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(logHook{note})
}

// unformatted skips formatting: the output is discarded, the hook gets the message itself.
type unformatted struct{}

func (unformatted) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

type logHook struct {
	note func(format string, args ...any)
}

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h logHook) Fire(e *logrus.Entry) error {
	h.note("%s: %s", e.Level, e.Message)
	return nil
}
