package policy

import "errors"

// refusedError is a refusal by policy.json.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return "refused by policy.json: " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// fileError is a policy.json that cannot be read: nothing is accepted then.
type fileError struct{ err error }

func (e *fileError) Error() string { return "read signature policy: " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// IsPolicy reports whether the error is of policy.json, and so of this machine.
func IsPolicy(err error) bool {
	return errors.As(err, new(*refusedError)) || errors.As(err, new(*fileError))
}

// Hint returns the remedy of an error of policy.json, as one line, or "".
func Hint(err error) string {
	switch {
	case errors.As(err, new(*refusedError)):
		return "sign the image, or allow it in policy.json"
	case errors.As(err, new(*fileError)):
		return "make policy.json readable and right, or remove it: without one the pinned digests decide"
	}
	return ""
}
