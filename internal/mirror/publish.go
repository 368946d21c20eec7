package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/progress"
)

// publish sends the manifests of the unit, whose blobs are there.
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

// sparseError is a registry that takes no list without all the images that it names.
type sparseError struct {
	u   *unit
	err error
}

func (e *sparseError) Error() string {
	return fmt.Sprintf("the registry does not take the manifest list %s, of which %d of %d images are not there: %v", e.u.Digest, e.u.sparse, e.u.named, e.err)
}

func (e *sparseError) Unwrap() error { return e.err }

// explain makes an error one that a person can act on: the image, if named, what went wrong, and on a line of
// its own the way out.
func explain(name string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if name != "" {
		text = name + ": " + text
	}
	text = progress.Clean(text)
	if hint := hintOf(err); hint != "" {
		text += "\n" + hint
	}
	return &explained{text, err}
}

// explained is an error in words for a person.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// hintOf is the way out, "" where the error says it all.
func hintOf(err error) string {
	class, _ := image.Classify(err)
	_, sparse := errors.AsType[*sparseError](err)
	to, flag := registry.IsSend(err), "--tls-verify=false"
	if to {
		flag = "--dest-tls-verify=false"
	}
	hint := image.Hint(err)
	switch {
	case sparse:
		return "copy the other images too with --all, or have the registry take such lists (distribution: validation.manifests.indexes.platforms: none)"
	case to && class == image.Denied:
		return "log in (podman login, --dest-authfile), and check that the account may push to this repository"
	case to && image.IsNotFound(err):
		return "check the prefix: some registries want a project, or the repository, to be made first"
	case hint != "":
		return strings.ReplaceAll(hint, "tls-verify: false", flag)
	case fetch.IsTransient(err):
		return "the registry or the network is in trouble: run it again, what is there is not sent again; or raise --retries"
	}
	return ""
}
