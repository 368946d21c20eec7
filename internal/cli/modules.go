package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/libdir"
	"osbuild-containers/internal/progress"
)

// osbuildLibdir is the default directory of osbuild's modules.
const osbuildLibdir = "/usr/lib/osbuild"

func (a *app) modulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "modules",
		Short:   "Replace osbuild's modules, or restore them",
		GroupID: groupInstall,
		Long: `modules replaces osbuild's modules with those of osbuild-containers, or restores
them. osbuild's own modules are kept in LIBDIR/` + libdir.Kept + `.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var libdir, from string
	var dryRun bool
	cmd.PersistentFlags().StringVar(&libdir, "libdir", osbuildLibdir, "osbuild's library `DIR`")
	status := &cobra.Command{
		Use:   "status",
		Short: "Show which modules are enabled, and their versions",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.modulesStatus(cmd.Context(), libdir) },
	}
	enable := &cobra.Command{
		Use:   "enable",
		Short: "Replace osbuild's modules",
		Long: `enable replaces osbuild's modules, and keeps them. It can be run again after an
interruption or an update of osbuild.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.modulesEnable(libdir, from, dryRun) },
	}
	enable.Flags().StringVar(&from, "from", "", "`DIR` with the modules to enable (default ../libexec/"+Name+", relative to this executable)")
	disable := &cobra.Command{
		Use:   "disable",
		Short: "Restore osbuild's own modules",
		Args:  noArguments,
		RunE:  func(*cobra.Command, []string) error { return a.modulesDisable(libdir, dryRun) },
	}
	for _, sub := range []*cobra.Command{enable, disable} {
		sub.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	}
	cmd.AddCommand(status, enable, disable)
	return cmd
}

// modulesStatus is the command.
func (a *app) modulesStatus(ctx context.Context, dir string) error {
	target, err := libdir.Open(dir)
	if err != nil {
		return refused(err)
	}
	all, err := target.Modules()
	if err != nil {
		return err
	}
	status := answer.ModulesStatus{Libdir: dir, Modules: []answer.Module{}}
	rows := make([][]string, 0, len(all))
	for _, m := range all {
		shown := answer.Module{Name: m.Name, State: string(m.State), Kept: m.Kept}
		if m.State == libdir.Ours {
			shown.Release = moduleVersion(ctx, filepath.Join(dir, m.Name))
		}
		status.Modules = append(status.Modules, shown)
		kept := ""
		if m.Kept {
			kept = "osbuild's is kept"
		}
		rows = append(rows, []string{m.Name, strings.TrimSpace(shown.State + " " + shown.Release), kept})
	}
	if a.flags.json {
		return a.json(status)
	}
	return a.print("%s\n", strings.Join(align([]column{{name: "MODULE"}, {name: "WHOSE"}, {name: ""}}, rows), "\n"))
}

// moduleVersion runs an installed module to get its version.
func moduleVersion(ctx context.Context, path string) string {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "(does not run here)"
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return version
}

// modulesEnable is the command.
func (a *app) modulesEnable(dir, from string, dryRun bool) error {
	if from == "" {
		executable, err := os.Executable()
		if err != nil {
			return err
		}
		from = filepath.Join(filepath.Dir(executable), "../libexec", Name)
	}
	if _, err := os.Stat(from); err != nil {
		return refused(hint.Add(fmt.Errorf("our modules are not there: %w", err), "name the directory that has sources and stages with --from"))
	}
	target, err := libdir.Open(dir)
	if err != nil {
		return refused(err)
	}
	if err := refuseDiverted(dir); err != nil {
		return err
	}
	target.DryRun = dryRun
	changed, err := target.Enable(from)
	if err != nil {
		return err
	}
	return a.modulesChanged(dir, changed, dryRun, "enabled")
}

// would returns a verb: what was done, or with --dry-run would be.
func would(dryRun bool, done string) string {
	if dryRun {
		return "would be " + done
	}
	return done
}

// modulesDisable is the command.
func (a *app) modulesDisable(dir string, dryRun bool) error {
	target, err := libdir.Open(dir)
	if err != nil {
		return refused(err)
	}
	if err := refuseDiverted(dir); err != nil {
		return err
	}
	target.DryRun = dryRun
	changed, err := target.Disable()
	if err != nil {
		return err
	}
	return a.modulesChanged(dir, changed, dryRun, "disabled")
}

// modulesChanged prints the result of the commands that change modules.
func (a *app) modulesChanged(dir string, changed []string, dryRun bool, done string) error {
	if a.flags.json {
		return a.json(answer.ModulesChange{Libdir: dir, Changed: orEmpty(changed), DryRun: dryRun})
	}
	return a.print("%s: %s %s\n", dir, progress.Count(len(changed), "module"), would(dryRun, done))
}

// refuseDiverted refuses to change files diverted by dpkg, which has to know where osbuild's files are.
func refuseDiverted(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, libdir.Kept, "managed-by-dpkg")); err != nil {
		return nil //nolint:nilerr // no such file: nothing is diverted
	}
	return refused(hint.Add(fmt.Errorf("dpkg has put our modules into %s, and moves osbuild's aside", dir), "remove the package %s to get osbuild's back", Name))
}
