package mirror

import (
	"context"
	"errors"
	"fmt"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/retry"
)

// publish sends the manifests of the unit. The repository must have the blobs.
func (u *unit) publish(ctx context.Context) error {
	for _, doc := range u.docs {
		err := u.to.putManifest(ctx, doc)
		if err != nil && doc.list && u.sparse > 0 && registry.IsRefused(err) {
			return &sparseError{u, err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sparseError reports that the registry refuses a list without all its images.
type sparseError struct {
	u   *unit
	err error
}

func (e *sparseError) Error() string {
	return fmt.Sprintf("the registry does not take the manifest list %s without all its images (%d of %d are missing): %v", e.u.Digest, e.u.sparse, e.u.named, e.err)
}

func (e *sparseError) Unwrap() error { return e.err }

// withHint adds the hint to an error.
func withHint(err error) error {
	if err == nil {
		return nil
	}
	return hint.With(err, hintOf(err))
}

// hintOf returns the hint for an error, or the zero Hint if the error needs none.
func hintOf(err error) hint.Hint {
	class, _ := image.Classify(err)
	to := registry.IsSend(err)
	if _, sparse := errors.AsType[*sparseError](err); sparse {
		return hint.New("copy the other images too with --all, or have the registry take such lists (distribution: validation.manifests.indexes.platforms: none)")
	}
	if to && class == retry.Denied {
		return hint.New("log in (podman login, --dest-authfile), and check that the account may push to this repository")
	}
	if to && image.IsNotFound(err) {
		return hint.New("check the prefix: some registries want a project, or the repository, to be made first")
	}
	if h := image.Hint(err); h != (hint.Hint{}) {
		return h
	}
	if class == retry.Transient {
		return hint.New("the registry or the network is in trouble: run it again, what is there is not sent again; or raise %s", hint.Option("retries"))
	}
	return hint.Hint{}
}
