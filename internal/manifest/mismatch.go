package manifest

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// A MismatchError reports content that does not have the digest or the size that it was asked for by.
type MismatchError struct {
	What      string // such as "manifest" or "config"; "" where the caller names it
	Kind      string // "digest" or "size"
	Got, Want string // digests, or numbers of bytes
}

// Error implements error.
func (e *MismatchError) Error() string {
	if e.What == "" {
		return fmt.Sprintf("%s mismatch: got %s, want %s", e.Kind, e.Got, e.Want)
	}
	return fmt.Sprintf("%s has %s %s, want %s", e.What, e.Kind, e.Got, e.Want)
}

// Mismatch returns the error of content that has another digest than the one wanted.
func Mismatch(what string, got, want digest.Digest) error {
	return &MismatchError{what, "digest", got.String(), want.String()}
}

// SizeMismatch returns the error of content that has another size, in bytes, than the one wanted.
func SizeMismatch(what string, got, want int64) error {
	return &MismatchError{what, "size", strconv.FormatInt(got, 10) + " bytes", strconv.FormatInt(want, 10)}
}

// TooLong returns the error of content that has more bytes than the size wanted.
func TooLong(what string, want int64) error {
	return &MismatchError{what, "size", fmt.Sprintf("more than %d bytes", want), strconv.FormatInt(want, 10)}
}

// IsMismatch reports whether an error says that content does not have the digest or the size it was asked for by.
func IsMismatch(err error) bool { return errors.As(err, new(*MismatchError)) }
