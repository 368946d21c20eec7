package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/request"
)

// flags are flags of several commands.
type flags struct {
	caches    []*pflag.FlagSet // that name the cache, one for each command
	json      bool
	quiet     bool
	debug     bool
	cache     string
	store     string
	authfile  string
	certDir   string
	tlsVerify bool
	login     *request.Login // of a command that has a flag for it
	options   request.Options
}

// uses maps commands to the shared flags that they have.
var uses = map[string]struct{ cache, registry, quiet, debug bool }{
	"pin":          {registry: true, quiet: true, debug: true},
	"pin add":      {registry: true, quiet: true, debug: true},
	"pin check":    {registry: true, quiet: true, debug: true},
	"pin update":   {registry: true, quiet: true, debug: true},
	"pin manifest": {registry: true, debug: true},
	"fetch":        {cache: true, registry: true, quiet: true, debug: true},
	"list":         {cache: true},
	"inspect":      {cache: true},
	"du":           {cache: true},
	"mirror":       {cache: true, registry: true, quiet: true, debug: true},
	"export":       {cache: true, registry: true, quiet: true, debug: true},
	"unpack":       {cache: true, registry: true, quiet: true, debug: true},
	"import":       {cache: true, quiet: true, debug: true},
	"verify":       {cache: true, registry: true, quiet: true, debug: true},
	"gc":           {cache: true, quiet: true},
	"rm":           {cache: true},
	"tag":          {cache: true},
}

// add adds shared flags to a command and its subcommands.
func (f *flags) add(cmd *cobra.Command) {
	use := uses[pathBelowRoot(cmd)]
	if use.cache {
		f.addCache(cmd.Flags())
	}
	if use.registry {
		f.addRegistry(cmd.Flags())
	}
	if use.quiet {
		cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print only errors")
	}
	if use.debug {
		cmd.Flags().BoolVarP(&f.debug, "debug", "v", false, "log requests, mirrors, configuration files and sources of credentials, but no secrets")
	}
	for _, sub := range cmd.Commands() {
		f.add(sub)
	}
}

// addCache adds the flags that name the cache.
func (f *flags) addCache(set *pflag.FlagSet) {
	f.caches = append(f.caches, set)
	set.StringVar(&f.cache, "cache", "", "cache `DIR` (default $"+cacheVariable+", or else "+rootCache+" for root and ~/.cache/osbuild/sources for others)")
	set.StringVar(&f.store, "store", "", "osbuild store `DIR`; the cache is DIR/sources")
}

// addRegistry adds the flags for access to registries.
func (f *flags) addRegistry(set *pflag.FlagSet) {
	set.StringVar(&f.authfile, "authfile", "", "`FILE` with credentials for registries")
	set.StringVar(&f.certDir, "cert-dir", "", "`DIR` with certificates for registries")
	set.BoolVar(&f.tlsVerify, "tls-verify", true, "require HTTPS and verify certificates of registries")
	set.IntVar(&f.options.Retries, "retries", f.options.Retries, "`NUMBER` of retries after a failure")
	set.Var((*wait)(&f.options.Timeout), "timeout", "give up after this `TIME` without progress, retries included: 300, 90s, 5m")
	set.Var((*wait)(&f.options.StallTimeout), "stall-timeout", "reconnect after this `TIME` without progress")
	set.Var((*wait)(&f.options.HeaderTimeout), "header-timeout", "wait this `TIME` for the first byte of a response")
	set.IntVar(&f.options.MaxParallel, "max-parallel", f.options.MaxParallel, "maximum `NUMBER` of parallel downloads")
}

// alias makes name mean another flag of the set. Help does not show it.
func alias(set *pflag.FlagSet, name, flag string) {
	before := set.GetNormalizeFunc()
	set.SetNormalizeFunc(func(set *pflag.FlagSet, typed string) pflag.NormalizedName {
		if typed == name {
			typed = flag
		}
		return before(set, typed)
	})
}

// check refuses values that no command accepts.
func (f *flags) check() error {
	if f.quiet && f.debug {
		return refused(errors.New("--quiet leaves out what --debug adds: use one of them"))
	}
	if err := checkCertDir("--cert-dir", f.certDir); err != nil {
		return err
	}
	if err := checkAuthfile("--authfile", f.authfile); err != nil {
		return err
	}
	if err := f.options.Check(); err != nil {
		return refused(err)
	}
	return nil
}

// access returns the access options given by the flags.
func (f *flags) access() request.Access {
	return request.Access{AuthFile: f.authfile, CertDir: f.certDir, TLSVerify: f.tlsVerify, Login: f.login}
}

// checkAuthfile refuses a credentials file that does not exist or cannot be read. "" means the default files.
func checkAuthfile(flag, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return refused(fmt.Errorf("%s: %w", flag, err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return refused(fmt.Errorf("%s: %s is a directory, want a file", flag, path))
	}
	return nil
}

// checkCertDir refuses an unreadable directory of certificates: without it, the registry would be contacted with other
// certificates, or none. "" means the default directory.
func checkCertDir(flag, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.ReadDir(path); err != nil {
		return refused(fmt.Errorf("%s: %w", flag, err))
	}
	return nil
}
