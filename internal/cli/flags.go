package cli

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/request"
)

// flags are those that every command has.
type flags struct {
	set       *pflag.FlagSet
	json      bool
	cache     string
	store     string
	authfile  string
	certDir   string
	tlsVerify bool
	login     *request.Login // of a command that has a flag for it
	options   request.Options
}

func (f *flags) add(set *pflag.FlagSet) {
	set.BoolVar(&f.json, "json", false, "answer in JSON")
	f.set = set
	set.StringVar(&f.cache, "cache", "", "the cache, a `DIR`; "+cacheVariable+" names it where no flag does; without it "+rootCache+" for root, ~/.cache/osbuild/sources for others")
	set.StringVar(&f.store, "store", "", "the store of osbuild, a `DIR`: the cache is DIR/sources")
	set.StringVar(&f.authfile, "authfile", "", "file with the credentials of registries")
	set.StringVar(&f.certDir, "cert-dir", "", "directory with the certificates for registries")
	set.BoolVar(&f.tlsVerify, "tls-verify", true, "check the certificates of registries")
	f.options = request.DefaultOptions()
	f.options.Spelling = hint.Flags
	set.IntVar(&f.options.Retries, "retries", f.options.Retries, "further tries after one that failed")
	set.Var((*wait)(&f.options.Timeout), "timeout", "give up what made no progress for this `TIME`, retries included: 300, 90s, 5m")
	set.Var((*wait)(&f.options.StallTimeout), "stall-timeout", "connect again when a connection made no progress for this `TIME`")
	set.Var((*wait)(&f.options.HeaderTimeout), "header-timeout", "wait this `TIME` for the first byte of an answer")
	set.IntVar(&f.options.MaxParallel, "max-parallel", f.options.MaxParallel, "downloads at one time")
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

// check refuses what no command takes.
func (f *flags) check() error {
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

// access is how the flags say registries are reached.
func (f *flags) access() request.Access {
	return request.Access{AuthFile: f.authfile, CertDir: f.certDir, TLSVerify: f.tlsVerify, Login: f.login}
}

// checkAuthfile refuses a file with credentials that is not there or cannot be read. "" is the usual places.
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

// checkCertDir refuses a directory of certificates that cannot be read: without it, the registry would be
// asked with other certificates, or none. "" is the usual place.
func checkCertDir(flag, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.ReadDir(path); err != nil {
		return refused(fmt.Errorf("%s: %w", flag, err))
	}
	return nil
}
