package library

import (
	"fmt"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestWarningsOfTheLibraries checks which log lines of the libraries are shown to users.
func TestWarningsOfTheLibraries(t *testing.T) {
	var notes []string
	RouteLogs(func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) })
	logrus.Info("not for users")
	logrus.Warn("for users")
	if len(notes) != 1 || notes[0] != "warning: for users" {
		t.Errorf("noted %q, want the warning", notes)
	}
}
