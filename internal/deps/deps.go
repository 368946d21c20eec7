// Package deps holds dependencies during bootstrap; removed before the first release.
package deps

import (
	_ "github.com/cenkalti/backoff/v5"
	_ "github.com/containers/image/v5/docker"
	_ "github.com/containers/image/v5/image"
	_ "github.com/containers/image/v5/signature"
	_ "github.com/containers/image/v5/storage"
	_ "github.com/distribution/reference"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/santhosh-tekuri/jsonschema/v5"
	_ "github.com/vbauerster/mpb/v8"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
)
