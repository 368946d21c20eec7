package cli

import "github.com/spf13/cobra"

// commands returns all commands.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.pinCommand(),
		a.fetchCommand(),
		a.listCommand(),
		a.inspectCommand(),
		a.duCommand(),
		a.mirrorCommand(),
		a.unpackCommand(),
		a.exportCommand(),
		a.importCommand(),
		a.verifyCommand(),
		a.gcCommand(),
		a.rmCommand(),
		a.tagCommand(),
		a.modulesCommand(),
	}
}
