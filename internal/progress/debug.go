package progress

import (
	"io"
	"log/slog"
)

// debugTime shows when something happened. A log has the date.
const debugTime = "15:04:05.000"

// DebugHandler returns a handler of log/slog for what --debug shows: one line of key=value pairs for each message,
// cleaned as all other output of this package.
func DebugHandler(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindInt64, slog.KindDuration:
			return a
		case slog.KindTime:
			return slog.String(a.Key, a.Value.Time().Format(debugTime))
		}
		if a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return slog.String(a.Key, Clean(a.Value.String()))
	}})
}
