package policy

import (
	"errors"

	"osbuild-containers/internal/hint"
)

// refusedError is a refusal by policy.json.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return "refused by policy.json: " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// Hint implements the interface of package hint.
func (e *refusedError) Hint() hint.Hint {
	return hint.New("sign the image, or allow it in policy.json")
}

// fileError is returned for an unreadable policy.json: no image is accepted then.
type fileError struct{ err error }

func (e *fileError) Error() string { return "read signature policy: " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// Hint implements the interface of package hint.
func (e *fileError) Hint() hint.Hint {
	return hint.New("make policy.json readable and valid, or remove it: without one the pinned digests decide")
}

// IsPolicy reports whether the error comes from policy.json, and so from this machine.
func IsPolicy(err error) bool {
	return errors.As(err, new(*refusedError)) || errors.As(err, new(*fileError))
}
