package cli

import (
	"testing"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/pin"
)

// TestOfferedArchitecturesAreKnown shows that each architecture that a shell offers for --arch of any command is taken.
func TestOfferedArchitecturesAreKnown(t *testing.T) {
	t.Parallel()
	commands := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if offer, ok := cmd.GetFlagCompletionFunc("arch"); ok {
			commands++
			values, _ := offer(cmd, nil, "")
			if len(values) == 0 {
				t.Errorf("%s --arch: no values", cmd.CommandPath())
			}
			for _, arch := range values {
				if _, err := pin.ParsePlatform(arch); err != nil {
					t.Errorf("%s --arch: %v", cmd.CommandPath(), err)
				}
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(Root())
	if commands == 0 {
		t.Error("no command has --arch")
	}
}
