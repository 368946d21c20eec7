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
	"osbuild-containers/internal/modules"
)

// osbuildLibdir is the default directory of osbuild's modules.
const osbuildLibdir = "/usr/lib/osbuild"

func (a *app) modulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "modules",
		Short:   "Show whose modules osbuild uses, and change that",
		GroupID: groupInstall,
		Long: `modules puts this project's modules where osbuild looks for its own of the same
names, and puts osbuild's back. osbuild's are kept in LIBDIR/` + modules.Kept + `.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var libdir, from string
	var dryRun bool
	cmd.PersistentFlags().StringVar(&libdir, "libdir", osbuildLibdir, "the libdir of osbuild, a `DIR`")
	status := &cobra.Command{
		Use:   "status",
		Short: "Show which modules are ours, with their version",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.modulesStatus(cmd.Context(), libdir) },
	}
	enable := &cobra.Command{
		Use:   "enable",
		Short: "Put our modules into osbuild's libdir, and keep osbuild's",
		Long: `enable puts our modules into osbuild's libdir and keeps osbuild's. It may be run
again, after an update of osbuild or when it was interrupted.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.modulesEnable(libdir, from, dryRun) },
	}
	enable.Flags().StringVar(&from, "from", "", "the `DIR` with our modules; without it ../libexec/"+Name+", seen from this executable")
	disable := &cobra.Command{
		Use:   "disable",
		Short: "Take our modules out of osbuild's libdir, and put osbuild's back",
		Args:  noArguments,
		RunE:  func(*cobra.Command, []string) error { return a.modulesDisable(libdir, dryRun) },
	}
	for _, sub := range []*cobra.Command{enable, disable} {
		sub.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and leave it at that")
	}
	cmd.AddCommand(status, enable, disable)
	return cmd
}

// modulesStatus is the command.
func (a *app) modulesStatus(ctx context.Context, dir string) error {
	libdir, err := modules.Open(dir)
	if err != nil {
		return refused(err)
	}
	all, err := libdir.Modules()
	if err != nil {
		return err
	}
	status := answer.ModulesStatus{Libdir: dir, Modules: []answer.Module{}}
	rows := make([][]string, 0, len(all))
	for _, m := range all {
		shown := answer.Module{Name: m.Name, State: string(m.State), Kept: m.Kept}
		if m.State == modules.Ours {
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

// moduleVersion asks a module of ours for its version.
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
	libdir, err := modules.Open(dir)
	if err != nil {
		return refused(err)
	}
	if err := managed(dir); err != nil {
		return err
	}
	libdir.DryRun = dryRun
	changed, err := libdir.Enable(from)
	if err != nil {
		return err
	}
	return a.modulesChanged(dir, changed, dryRun, "enabled")
}

// would returns what was done, or would be without --dry-run.
func would(dryRun bool, done string) string {
	if dryRun {
		return "would be " + done
	}
	return done
}

// modulesDisable is the command.
func (a *app) modulesDisable(dir string, dryRun bool) error {
	libdir, err := modules.Open(dir)
	if err != nil {
		return refused(err)
	}
	if err := managed(dir); err != nil {
		return err
	}
	libdir.DryRun = dryRun
	changed, err := libdir.Disable()
	if err != nil {
		return err
	}
	return a.modulesChanged(dir, changed, dryRun, "disabled")
}

// modulesChanged writes the answer of the commands that change modules.
func (a *app) modulesChanged(dir string, changed []string, dryRun bool, done string) error {
	if a.flags.json {
		return a.json(answer.ModulesChange{Libdir: dir, Changed: orEmpty(changed), DryRun: dryRun})
	}
	return a.print("%s: %s %s\n", dir, count(len(changed), "module"), would(dryRun, done))
}

// managed refuses to change files diverted by dpkg, which has to know where osbuild's files are.
func managed(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, modules.Kept, "managed-by-dpkg")); err != nil {
		return nil //nolint:nilerr // no such file: nothing is diverted
	}
	return refused(hint.Add(fmt.Errorf("dpkg has put our modules into %s, and moves osbuild's aside", dir), "remove the package %s to get osbuild's back", Name))
}
