package fetch

import (
	"cmp"
	"errors"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/retry"
)

// hintOf returns the hint for an error of an item fetched into c, or the zero Hint if the error needs none.
func hintOf(c *cache.Cache, err error) hint.Hint {
	var mismatch *manifest.MismatchError
	damaged := errors.As(err, &mismatch) && mismatch.What != "manifest" // a manifest that is not the pinned one may be intact
	var stalled retry.StallError
	switch {
	case damaged && storage.IsStorage(err):
		return hint.New("the storage is damaged: look with podman system check, or pull the image again")
	case errors.As(err, &stalled) && !storage.IsStorage(err):
		return stallHint(stalled)
	case damaged:
		return hint.New("what is served is not what the manifest names: a proxy or the registry damages it, or the image was pushed badly")
	case errors.Is(err, errNotThere):
		return hint.New("run download first")
	}
	if h := cmp.Or(image.Hint(err), c.Hint(err)); h != (hint.Hint{}) {
		return h
	}
	if class, _ := image.Classify(err); class == retry.Transient {
		return hint.New("the registry or the network is in trouble: try again later, or raise %s and %s; what was downloaded is kept and used next time",
			hint.Option("retries"), hint.Option("timeout"))
	}
	return hint.Hint{}
}

// stallHint returns the hint for a connection without progress.
func stallHint(err retry.StallError) hint.Hint {
	timeout := hint.Option("timeout")
	if err.Answer {
		return hint.New("the registry may be fetching it from elsewhere: try again later, or raise %s and %s", hint.Option("header-timeout"), timeout)
	}
	return hint.New("check the network, or raise %s and %s; what was downloaded is kept and used next time", hint.Option("stall-timeout"), timeout)
}

// logTry returns a log function for tries that concern a whole item. The first line includes the hint, since the user
// may not want to wait for the other tries.
func (it *item) logTry(what string) func(retry.Failure) {
	return func(f retry.Failure) {
		if it.job.log.Repeated(f) {
			return
		}
		it.log.Note("%s: %v", what, f)
		if h := image.Hint(f.Err); f.Attempt == 1 && h != (hint.Hint{}) {
			it.log.Note("%s", h.Spell(it.req.Options.Spelling))
		}
	}
}
