package image

import (
	"errors"
	"time"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/policy"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/retry"
)

// Classify returns the class of an error of this package. retryAfter is the wait that the server asked for.
func Classify(err error) (class retry.Class, retryAfter time.Duration) {
	if IsPolicy(err) || storage.IsStorage(err) {
		return retry.Final, 0
	}
	return registry.Classify(err)
}

// IsNotFound reports whether the registry or storage does not have the requested object.
func IsNotFound(err error) bool {
	return errors.Is(err, storage.ErrNotStored) || registry.IsNotFound(err)
}

// IsPolicy reports whether the error comes from policy.json, and so from this machine.
func IsPolicy(err error) bool { return policy.IsPolicy(err) }

// Hint returns the hint for an error, or the zero Hint if the error needs none.
func Hint(err error) hint.Hint {
	if h := hint.Of(err); h != (hint.Hint{}) || IsPolicy(err) || storage.IsStorage(err) {
		return h
	}
	return registry.Hint(err)
}
