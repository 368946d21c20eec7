package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/userns"
)

// rootCache is the default cache for root of the host.
const rootCache = "/var/cache/osbuild/sources"

// defaultCache returns the default cache. An ordinary user has a separate one, also in a user namespace.
func defaultCache() string {
	if userns.Restricted() {
		if dir := userCacheDir(); dir != "" {
			return filepath.Join(dir, "osbuild", "sources")
		}
	}
	return rootCache
}

// userCacheDir returns the user's directory for caches, or "" if the user has none. As the XDG specification demands, a relative
// XDG_CACHE_HOME is ignored. If HOME is not set, the home directory is that of /etc/passwd, as it is for credentials.
func userCacheDir() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	home := os.Getenv("HOME")
	if home == "" {
		if u, err := user.Current(); err == nil {
			home = u.HomeDir
		}
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".cache")
}

// cacheVariable is the environment variable that names the cache if no flag does.
const cacheVariable = "OSBUILD_CONTAINERS_CACHE"

// usualCaches returns the caches in the default stores of osbuild and image-builder.
func usualCaches() []string {
	return []string{".osbuild/sources", "/var/cache/image-builder/store/sources", defaultCache(), rootCache}
}

// parts are the directories of a cache created by osbuild's sources.
var parts = []string{"org.osbuild.containers", "org.osbuild.files", "org.osbuild.ostree"}

// cacheDir returns the absolute path of the cache given by flags or the environment. It refuses other directories of
// osbuild's store, since a cache would be created there.
func (a *app) cacheDir() (string, error) {
	path, from := a.flags.cache, "--cache"
	switch {
	case a.changed("store") && a.changed("cache"):
		return "", refused(errors.New("--store and --cache both name the cache: use one of them"))
	case a.changed("store"):
		from = "--store"
		if path = a.flags.store; path == "" {
			return "", refused(errors.New("--store is empty: name a directory"))
		}
		if !isStore(path) && isCache(path) {
			return "", refused(hint.Add(fmt.Errorf("%s is the cache of a store, want the store", path), "use --cache %s", path))
		}
		path = filepath.Join(path, "sources")
	case !a.changed("cache") && os.Getenv(cacheVariable) != "":
		path, from = os.Getenv(cacheVariable), cacheVariable
	case !a.changed("cache"):
		path = defaultCache()
	case path == "":
		return "", refused(errors.New("--cache is empty: name a directory"))
	}
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", refused(err)
	}
	if right, what := cacheNear(dir); right != "" {
		switch from {
		case "--store":
			return "", refused(hint.Add(fmt.Errorf("%s is %s, want the store", a.flags.store, what), "use --store %s", filepath.Dir(right)))
		case cacheVariable:
			from += "="
		default:
			from += " "
		}
		return "", refused(hint.Add(fmt.Errorf("%s is %s, want its cache", path, what), "use %s%s", from, right))
	}
	a.cache = dir
	return dir, refused(checkCache(dir))
}

// advise adds hints to a command's errors, and those of its subcommands, about files of the cache.
func (a *app) advise(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if err != nil && a.cache != "" {
				err = hint.With(err, cache.Open(a.cache).Hint(err))
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		a.advise(sub)
	}
}

// checkCache refuses a path that cannot be a cache. It need not exist.
func checkCache(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, unix.ENOTDIR), err == nil && !fi.IsDir():
		return fmt.Errorf("cache %s is not a directory", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the cache: %w", err)
	}
	return nil
}

// changed reports whether the flag, which names the cache, is on the command line.
func (a *app) changed(name string) bool {
	return slices.ContainsFunc(a.flags.caches, func(set *pflag.FlagSet) bool { return set.Changed(name) })
}

// cacheNear returns the cache next to, above or below dir, and what dir is. It returns "" if dir may be a cache.
func cacheNear(dir string) (right, what string) {
	for _, at := range []string{dir, filepath.Dir(dir)} {
		if slices.Contains(parts, filepath.Base(at)) {
			return filepath.Dir(at), "a directory in the cache of osbuild's store"
		}
	}
	if isStore(dir) {
		return filepath.Join(dir, "sources"), "osbuild's store"
	}
	above := filepath.Dir(dir)
	if filepath.Base(dir) == "sources" && isCache(above) && !isCache(dir) {
		return above, "a directory in the cache of osbuild's store"
	}
	for _, at := range []string{dir, above} {
		store := filepath.Dir(at)
		switch filepath.Base(at) {
		case "sources":
			if at == above && isStore(store) {
				return at, "a directory in the cache of osbuild's store"
			}
		case "objects", "refs", "stage", "tmp":
			if isStore(store) {
				return filepath.Join(store, "sources"), "a directory of osbuild's store"
			}
		}
	}
	return "", ""
}

// isStore reports whether dir looks like a store of osbuild.
func isStore(dir string) bool {
	sources := filepath.Join(dir, "sources")
	return exists(dir, "cache.info") || exists(dir, "objects") && (exists(dir, "sources") || exists(dir, "refs")) ||
		isCache(sources) && !isCache(dir)
}

// isCache reports whether dir looks like the cache of a store: one of osbuild's sources has used it.
func isCache(dir string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return exists(dir, part) })
}

// isCacheOrEmpty reports whether dir looks like a cache, or is empty.
func isCacheOrEmpty(dir string) bool {
	if isCache(dir) {
		return true
	}
	names, err := os.ReadDir(dir)
	return err == nil && len(names) == 0
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// noCache returns an error if there is no cache at dir. If dir is the default, the error names caches found elsewhere.
func (a *app) noCache(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil // cacheDir has checked it
	}
	err := errors.New("there is no cache " + dir)
	var seen []error
	if !a.changed("cache") && !a.changed("store") && os.Getenv(cacheVariable) == "" {
		for _, path := range slices.Compact(usualCaches()) {
			if isCache(path) {
				seen = append(seen, fmt.Errorf("there is one in %s: use --cache %[1]s", path))
			}
		}
		if len(seen) == 0 {
			err = hint.Add(err, "name it with --cache, or osbuild's store with --store")
		}
	}
	return errors.Join(append([]error{err}, seen...)...)
}

// noteCache logs a note about a cache without images.
func (a *app) noteCache(dir string, images int) {
	err := a.noCache(dir)
	if err == nil && images == 0 {
		err = fmt.Errorf("no images in the cache %s", dir)
	}
	if err != nil {
		for line := range strings.Lines(hint.Text(err, hint.Flags)) {
			a.env.Lines().Note("%s", strings.TrimSuffix(line, "\n"))
		}
	}
}

// scan reads the images of the cache. An empty cache is noted, and not an error.
func (a *app) scan(dir string) ([]*cacheinfo.Image, error) {
	images, err := cacheinfo.Scan(cache.Open(dir))
	if err != nil {
		return nil, cmp.Or(a.noCache(dir), err)
	}
	a.noteCache(dir, len(images))
	return images, nil
}

// openCache opens a cache that logs to standard error.
func (a *app) openCache(dir string) *cache.Cache {
	c := cache.Open(dir)
	c.Note = a.env.Lines().Note
	return c
}
