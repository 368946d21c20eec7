package library

import (
	"fmt"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestWarningsOfTheLibraries shows which of the libraries' log lines are for users.
func TestWarningsOfTheLibraries(t *testing.T) {
	var notes []string
	RouteLogs(func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) })
	logrus.Info("not for users")
	logrus.Warn("for users")
	if len(notes) != 1 || notes[0] != "warning: for users" {
		t.Errorf("noted %q, want the warning", notes)
	}
}
