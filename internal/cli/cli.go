// Package cli implements the command line of the tool: names of commands, their flags, output and exit statuses.
//
// A command's file turns arguments and flags into a call of the package that does the work (pin, inject, fetch,
// cacheinfo, gc, verify, bundle, mirror), and its result into a table, lines or JSON. Only the result is written to
// standard output; progress, notes and errors go to standard error. Text output fits 80 columns and has no colours.
//
// The exit statuses, the same for all commands:
//
//	0    success; for a check: nothing is wrong
//	1    failure; the error is on standard error
//	2    the command line, or a file that it names, is invalid; nothing was changed
//	3    pin check: a tag no longer points to the pinned digest, or no longer exists
//	4    pin check: a pinned image is no longer served
//	5    verify: damage was found, and not repaired
//	130  interrupted by SIGINT
//	143  interrupted by SIGTERM
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/mirror"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/request"
)

// Name is the name of the executable.
const Name = "osbuild-containers"

// Exit statuses.
const (
	exitOK      = 0
	exitFailed  = 1
	exitRefused = 2
	exitMoved   = 3
	exitGone    = 4
	exitDamaged = 5
)

// Env is the process around Main.
type Env = process.Env

// OS returns the Env of this process. After the call, SIGINT and SIGTERM are handled by commands.
func OS() Env { return process.OS() }

// Main runs the command given by the arguments and returns the exit status.
func Main(ctx context.Context, env Env) int {
	err, sig, abandoned := process.Run(ctx, env.Signals, 0, func(ctx context.Context) error {
		return panics.Catch(func() error { return newRoot(env).ExecuteContext(ctx) })
	})
	if abandoned != nil {
		return process.Signalled(sig)
	}
	if sig != nil && err != nil {
		why := hint.With(errors.New("interrupted"), hint.Of(err))
		fmt.Fprintf(env.Stderr, "%s: %s\n", Name, hint.Text(why, hint.Flags))
		return process.Signalled(sig)
	}
	if err == nil {
		return exitOK
	}
	status, ok := errors.AsType[*statusError](err)
	if !ok || status.err != nil {
		fmt.Fprintf(env.Stderr, "%s: %s\n", Name, hint.Text(err, hint.Flags))
	}
	return exitStatus(err)
}

// exitStatus maps the error of a command to the exit status of the process.
func exitStatus(err error) int {
	var status *statusError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return status.status
	case errors.As(err, new(*bundle.RefusedError)), errors.As(err, new(*mirror.RefusedError)):
		return exitRefused
	}
	return exitFailed
}

// statusError is an error with its own exit status. Without a cause, everything has been printed already.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// refused gives an error the exit status for an invalid command line, or an invalid file named by it.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return &statusError{status: exitRefused, err: err}
}

// app is shared by all commands.
type app struct {
	env       Env
	flags     flags
	cache     string // given by flags; "" until cacheDir is called
	stdinRead bool   // standard input has been read
}

// newRoot returns the command tree.
func newRoot(env Env) *cobra.Command {
	a := &app{env: env}
	root := &cobra.Command{
		Use:   Name,
		Short: "Pin, fetch and keep container images by digest",
		Long: Name + ` pins tags to digests, fetches pinned images into the
cache of osbuild's sources, and manages that cache. It also exports, mirrors and
unpacks images.`,
		Version:           process.VersionText(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              noArguments,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := a.flags.check(); err != nil {
				return err
			}
			a.env.Quiet = a.flags.quiet
			if a.flags.debug {
				a.env.Debug()
			}
			return nil
		},
	}
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetVersionTemplate(Name + " {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	usage := strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80")
	root.SetUsageTemplate(strings.ReplaceAll(usage, " for more information about a command.", " for more."))
	root.PersistentFlags().BoolVar(&a.flags.json, "json", false, "print JSON")
	a.flags.options = request.DefaultOptions()
	a.flags.options.Spelling = hint.Flags
	a.flags.tlsVerify = true
	root.AddGroup(
		&cobra.Group{ID: groupPin, Title: "Pin images:"},
		&cobra.Group{ID: groupCache, Title: "Fetch images and manage the cache:"},
		&cobra.Group{ID: groupCarry, Title: "Transfer and unpack images:"},
		&cobra.Group{ID: groupInstall, Title: "Install modules:"},
	)
	root.AddCommand(a.commands()...)
	root.AddCommand(a.versionCommand(), a.completionCommand(root))
	root.SetHelpCommand(helpCommand(root))
	a.flags.add(root)
	a.complete(root)
	a.advise(root)
	refuseArgs(root, env.Args)
	return root
}

// refuseArgs makes invalid arguments of a command and its subcommands a refusal. line is the command line.
func refuseArgs(cmd *cobra.Command, line []string) {
	cmd.Args = refusedArgs(cmd.Args, line)
	for _, sub := range cmd.Commands() {
		refuseArgs(sub, line)
	}
}

// Groups of commands in the help.
const (
	groupPin     = "pin"
	groupCache   = "cache"
	groupCarry   = "carry"
	groupInstall = "install"
)

// refusedArgs makes invalid arguments a refusal. line is the command line.
func refusedArgs(check cobra.PositionalArgs, line []string) cobra.PositionalArgs {
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := refuseSwitches(cmd, line); err != nil {
			return refused(err)
		}
		if err := check(cmd, args); err != nil {
			return refused(seeHelp(err, cmd))
		}
		return nil
	}
}

// Root returns the command tree for help, man pages and completions.
func Root() *cobra.Command {
	return newRoot(Env{Stdin: nil, Stdout: io.Discard, Stderr: io.Discard})
}
