package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/term"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/unpack"
)

// login returns the credentials in --creds. It asks for a missing password on the terminal.
func (u *unpackCommand) login(ctx context.Context) (*request.Login, error) {
	user, password, given := strings.Cut(u.creds, ":")
	if user == "" {
		return nil, refused(errors.New("--creds: want USER or USER:PASSWORD, the user is missing"))
	}
	if given {
		return &request.Login{User: user, Password: password}, nil
	}
	in, ok := u.env.Stdin.(*os.File)
	if !ok || !u.env.StdinIsTerminal {
		return nil, refused(hint.Add(errors.New("--creds: the password is missing, and standard input is not a terminal to ask on"),
			"use --creds USER:PASSWORD, or --authfile with a file that podman login has written"))
	}
	state, err := term.GetState(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("ask for the password: %w", err)
	}
	fmt.Fprintf(u.env.Stderr, "password of %s: ", progress.Clean(user))
	raw, err := process.Await(ctx, func() ([]byte, error) { return term.ReadPassword(int(in.Fd())) })
	fmt.Fprintln(u.env.Stderr)
	if err != nil {
		_ = term.Restore(int(in.Fd()), state) // restores echo after an interruption
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("ask for the password: %w", err)
	}
	return &request.Login{User: user, Password: string(raw)}, nil
}

// cacheToUse returns the cache, and a function that removes it if it is temporary.
func (u *unpackCommand) cacheToUse() (dir string, remove func() error, err error) {
	if !u.noCache {
		dir, err = u.cacheDir()
		return dir, func() error { return nil }, err
	}
	in := os.TempDir()
	if u.dest != "-" {
		in = filepath.Dir(u.dest)
	}
	const prefix = ".osbuild-containers-cache-"
	if u.dryRun { // no cache exists at that path
		return filepath.Join(in, prefix+rand.Text()), func() error { return nil }, nil
	}
	if dir, err = os.MkdirTemp(in, prefix); err != nil {
		return "", nil, hint.Add(fmt.Errorf("make a temporary cache: %w", err), "make %s writable, or leave out --no-cache", in)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// image fetches the image called what if necessary, and opens it.
func (u *unpackCommand) image(ctx context.Context, dir, what string, log *progress.Reporter) (*unpack.Image, *progress.Item, error) {
	if what == unpack.Scratch {
		i := u.scratch()
		return i, log.Item(i.Name), nil
	}
	pinned, found, err := u.find(ctx, dir, what, log)
	if err != nil {
		return nil, nil, err
	}
	var id, d digest.Digest
	var name string
	if found != nil {
		id, d, name = found.ID, found.Manifest, found.Title()
		log.Note("%s is %s in the cache", what, id)
	} else {
		if err := u.fetch(ctx, dir, pinned, log); err != nil {
			return nil, nil, err
		}
		repository, _, _ := strings.Cut(pinned.Reference, "@")
		id, d, name = pinned.ID, pinned.Pinned(), repository
	}
	i, err := u.open(ctx, dir, id, name, log)
	if err != nil {
		return nil, nil, err
	}
	return i, log.Pinned(name, d.String(), id.String()), nil
}

// open opens an image in the cache, and records that it is used.
func (u *unpackCommand) open(ctx context.Context, dir string, id digest.Digest, name string, log *progress.Reporter) (*unpack.Image, error) {
	pub, err := cache.Open(dir).OpenImage(id)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	defer pub.Close()
	if !u.dryRun {
		pub.Use()
	}
	return unpack.Open(ctx, pub.Path(), name, log)
}

// scratch returns the empty image.
func (u *unpackCommand) scratch() *unpack.Image {
	if u.platform != nil && !u.platform.Any {
		return unpack.Empty(u.platform.Architecture)
	}
	return unpack.Empty(runtime.GOARCH)
}

// find returns the image called what, from the pin file, the cache or a registry, in this order. A full name without a digest
// is always resolved in the registry, since the cached image may be outdated.
func (u *unpackCommand) find(ctx context.Context, dir, what string, log *progress.Reporter) (*pin.Image, *cacheinfo.Image, error) {
	if pinned, err := u.pinned(ctx, what); err != nil {
		return nil, nil, refused(err)
	} else if pinned != nil {
		log.Note("%s is pinned to %s", what, pinned.Pinned())
		return pinned, nil, nil
	}
	var missing error
	if !isFullName(what) || strings.Contains(what, "@") {
		found, err := u.cached(dir, what)
		if found != nil || err != nil && !errors.Is(err, cacheinfo.ErrNotFound) {
			return nil, found, err
		}
		missing = err
	}
	ref, err := pin.ParseReference(u.flags.access(), what)
	if err != nil {
		if missing != nil && !isFullName(what) {
			err = errors.Join(missing, err)
		}
		return nil, nil, refused(err)
	}
	p := pin.Platform{Architecture: runtime.GOARCH}
	if u.platform != nil {
		p = *u.platform
	}
	r := &pin.Resolver{Access: u.flags.access(), Options: u.flags.options, Note: log.Note}
	images, err := r.Resolve(ctx, []pin.Wanted{{Reference: ref, Platforms: []pin.Platform{p}}})
	if err != nil {
		return nil, nil, err
	}
	if ref.Digest == "" {
		log.Note("%s is %s now", images[0].Reference, images[0].Pinned())
	}
	return &images[0], nil, nil
}

// isFullName reports whether what includes a registry or a storage.
func isFullName(what string) bool {
	if strings.HasPrefix(what, "docker://") || strings.HasPrefix(what, "containers-storage:") {
		return true
	}
	host, _, more := strings.Cut(what, "/")
	return more && (strings.ContainsAny(host, ".:") || host == "localhost")
}

// pinned returns the image with that name in the pin file. It returns nil if there is none, unless the file was given by a flag.
func (u *unpackCommand) pinned(ctx context.Context, what string) (*pin.Image, error) {
	path := u.file
	if path == "" {
		path = pin.FileName
	}
	f, err := u.readPins(ctx, path)
	if u.file == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := f.Select([]string{what})
	if err != nil {
		if u.file == "" {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p := pin.Platform{Architecture: runtime.GOARCH}
	if u.platform != nil {
		p = *u.platform
	}
	fitting := slices.DeleteFunc(slices.Clone(all), func(i pin.Image) bool { return !fits(&i, []pin.Platform{p}) })
	if len(fitting) == 0 && len(all) == 1 && u.platform == nil {
		fitting = all
	}
	switch len(fitting) {
	case 1:
		return &fitting[0], nil
	case 0:
		return nil, hint.Add(fmt.Errorf("%s pins %q, and not for %s", path, what, p), "pin it for %s, too: %s pin %s --arch %s", p, Name, all[0].Reference, strings.TrimPrefix(p.String(), "linux/"))
	default:
		return nil, fmt.Errorf("%s pins %d images that %q may be: name one in full, such as %s", path, len(fitting), what, fitting[0].Reference)
	}
}

// cached returns the image of the cache called what.
func (u *unpackCommand) cached(dir, what string) (*cacheinfo.Image, error) {
	images, err := cacheinfo.Scan(cache.Open(dir))
	if err != nil {
		return nil, err
	}
	if u.platform != nil {
		return cacheinfo.FindOne(ofPlatforms(images, []pin.Platform{*u.platform}), what)
	}
	found, err := cacheinfo.FindNewest(images, what)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		if own := ofPlatforms(found, []pin.Platform{{Architecture: runtime.GOARCH}}); len(own) > 0 {
			found = own
		}
	}
	if len(found) > 1 {
		return nil, cacheinfo.Ambiguous(found, what)
	}
	return found[0], nil
}

// fetch fetches a pinned image and its list unless they are cached.
func (u *unpackCommand) fetch(ctx context.Context, dir string, i *pin.Image, log *progress.Reporter) error {
	item, lists := i.Items(u.flags.access())
	for n, items := range [][]request.Item{lists, {item}} {
		r, err := request.New(dir, items, u.flags.options)
		if err != nil {
			return refused(err)
		}
		do := fetch.Lists
		if n == 1 {
			do = fetch.Images
		}
		for _, result := range do(ctx, r, log) {
			u.fetched = manifest.AddSizes(u.fetched, result.Metadata.Bytes)
			if !result.Success { // the reason has been logged
				return fmt.Errorf("image %q could not be fetched: nothing was unpacked", i.Reference)
			}
		}
	}
	if err := fetch.RecordNames(ctx, dir, []request.Item{item}); err != nil {
		log.Note("%v", err) // not fatal: the image is in the cache
	}
	return nil
}
