package manifest

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// A MismatchError reports content with another digest or size than was requested.
type MismatchError struct {
	What      string // such as "manifest" or "blob"; "" if the caller names it
	Got, Want string // digests, or sizes with their unit
}

// Error implements error.
func (e *MismatchError) Error() string {
	kind := "size"
	if digest.Digest(e.Want).Validate() == nil {
		kind = "digest"
	}
	if e.What == "" {
		return fmt.Sprintf("%s mismatch: got %s, want %s", kind, e.Got, e.Want)
	}
	return fmt.Sprintf("%s has %s %s, want %s", e.What, kind, e.Got, e.Want)
}

// Mismatch returns the error for content with the wrong digest.
func Mismatch(what string, got, want digest.Digest) error {
	return &MismatchError{what, got.String(), want.String()}
}

// SizeMismatch returns the error for content with the wrong size, in bytes.
func SizeMismatch(what string, got, want int64) error {
	return &MismatchError{what, fmt.Sprintf("%d bytes", got), fmt.Sprintf("%d bytes", want)}
}

// TooLong returns the error for content longer than want, in bytes.
func TooLong(what string, want int64) error {
	return &MismatchError{what, fmt.Sprintf("more than %d bytes", want), fmt.Sprintf("%d bytes", want)}
}

// IsMismatch reports whether err is a wrong digest or size.
func IsMismatch(err error) bool { return errors.As(err, new(*MismatchError)) }
