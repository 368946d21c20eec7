// Package storage reads and writes containers storages: the stores of podman, skopeo and buildah.
//
// Nothing is ever written to a store that is read: it may be read-only, and podman may use it at the same time.
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

// Hint returns the remedy.
func (e *noStoreError) Hint() hint.Hint {
	if h := ofOthers(e.err); h != (hint.Hint{}) {
		return h
	}
	return hint.New("check storage-location, or graphroot in storage.conf where none is given")
}

// storageError is an error of a containers storage: another try does not help.
type storageError struct{ err error }

func (e *storageError) Error() string { return e.err.Error() }
func (e *storageError) Unwrap() error { return e.err }

// Mark marks an error as one of a containers storage, whatever it looks like.
func Mark(err error) error {
	if err == nil || IsStorage(err) {
		return err
	}
	return &storageError{err}
}

// IsStorage reports whether the error is one of a containers storage: another try would give the same one.
func IsStorage(err error) bool {
	return errors.As(err, new(*storageError)) || errors.As(err, new(*noStoreError))
}

// unreadable marks an error of reading a layer, and adds a hint.
func unreadable(err error) error {
	return Mark(hint.Add(hint.With(err, ofOthers(err)), "look with podman system check, or pull the image again"))
}

var geteuid = os.Geteuid // replaced by tests

// ofOthers is the hint for a user who may not read the storage, or a file in it: that of a rootless podman has files with
// the user's subordinate ids.
func ofOthers(err error) hint.Hint {
	if !errors.Is(err, fs.ErrPermission) || geteuid() == 0 {
		return hint.Hint{}
	}
	return hint.New("that belongs to another user, or to one of your ids in /etc/subuid: run the command in podman's user namespace, podman unshare COMMAND, or as the owner of the storage")
}
