// Package storage reads and writes containers storages: the stores of podman, skopeo and buildah.
//
// A store opened for reading is never written to: it may be read-only, and podman may be using it.
package storage

import (
	"errors"
	"io/fs"
	"os"

	"osbuild-containers/internal/hint"
)

// ErrNotStored reports that the containers storage does not have the image.
var ErrNotStored = errors.New("not in containers storage")

// noStoreError reports a directory that is not a containers storage, or cannot be read.
type noStoreError struct {
	root, why string
	err       error
}

func (e *noStoreError) Error() string { return "no containers storage at " + e.root + ": " + e.why }
func (e *noStoreError) Unwrap() error { return e.err }

// Hint implements the interface of package hint.
func (e *noStoreError) Hint() hint.Hint {
	if h := ofOthers(e.err); h != (hint.Hint{}) {
		return h
	}
	return hint.New("check storage-location, or graphroot in storage.conf where none is given")
}

// storageError is an error of a containers storage. It is final.
type storageError struct{ err error }

func (e *storageError) Error() string { return e.err.Error() }
func (e *storageError) Unwrap() error { return e.err }

// Mark marks an error as one of a containers storage.
func Mark(err error) error {
	if err == nil || IsStorage(err) {
		return err
	}
	return &storageError{err}
}

// IsStorage reports whether the error is one of a containers storage, and so final.
func IsStorage(err error) bool {
	return errors.As(err, new(*storageError)) || errors.As(err, new(*noStoreError))
}

// unreadable marks an error of reading a layer and adds hints.
func unreadable(err error) error {
	return Mark(hint.Add(hint.With(err, ofOthers(err)), "look with podman system check, or pull the image again"))
}

var geteuid = os.Geteuid // replaced by tests

// ofOthers returns the hint for a user who may not read the storage or one of its files: that of a rootless podman has
// files owned by subordinate ids.
func ofOthers(err error) hint.Hint {
	if !errors.Is(err, fs.ErrPermission) || geteuid() == 0 {
		return hint.Hint{}
	}
	return hint.New("that belongs to another user, or to one of your ids in /etc/subuid: run the command in podman's user namespace, podman unshare COMMAND, or as the owner of the storage")
}
