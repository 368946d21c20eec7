package cli

import (
	"github.com/spf13/pflag"

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
	retries   int
}

func (f *flags) add(set *pflag.FlagSet) {
	set.BoolVar(&f.json, "json", false, "answer in JSON")
	f.set = set
	set.StringVar(&f.cache, "cache", defaultCache, "the cache, a `DIR`; "+cacheVariable+" names it where no flag does")
	set.StringVar(&f.store, "store", "", "the store of osbuild, a `DIR`: the cache is DIR/sources")
	set.StringVar(&f.authfile, "authfile", "", "file with the credentials of registries")
	set.StringVar(&f.certDir, "cert-dir", "", "folder with the certificates for registries")
	set.BoolVar(&f.tlsVerify, "tls-verify", true, "check the certificates of registries")
	set.IntVar(&f.retries, "retries", request.DefaultOptions().Retries, "further tries after one that failed")
}

// check refuses what no command takes.
func (f *flags) check() error {
	o := request.DefaultOptions()
	o.Retries = f.retries
	_, err := request.New(defaultCache, nil, o)
	return refused(err)
}

// access is how the flags say registries are reached.
func (f *flags) access() request.Access {
	return request.Access{AuthFile: f.authfile, CertDir: f.certDir, TLSVerify: f.tlsVerify}
}
