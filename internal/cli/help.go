package cli

import (
	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/process"
)

// helpCommand is cobra's help command, except that an unknown command is an error.
func helpCommand(root *cobra.Command) *cobra.Command {
	root.InitDefaultHelpCmd()
	var cmd *cobra.Command
	for _, cmd = range root.Commands() {
		if cmd.Name() == "help" {
			break
		}
	}
	cmd.Short, cmd.Long = "Help for a command", ""
	cmd.Run = nil
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return refused(unknownCommand(about, rest[0]))
		}
		about.InitDefaultHelpFlag()
		about.InitDefaultVersionFlag()
		return about.Help()
	}
	return cmd
}

// versionCommand prints the same as --version.
func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			if a.flags.json {
				return a.json(answer.Version{Name: Name, Release: process.VersionText()})
			}
			return a.print("%s %s\n", Name, process.VersionText())
		},
	}
}
