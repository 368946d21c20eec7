// Package request decodes and validates the JSON that modules are called with: requests to sources and arguments of
// stages.
//
// It decodes in one direction: bytes, JSON without duplicate names, the module's JSON Schema, types. The result is
// safe to use: digests are parsed strictly and once, paths are absolute, and names are valid references. An unknown
// field is an error that names it. See [Decode], [DecodeArgs] and [DecodeArguments].
package request

import (
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
)

// Methods that a source answers.
const (
	Download = "download"
	Copy     = "copy"
)

// Transports that images can be read from.
const (
	Docker            = "docker"
	ContainersStorage = "containers-storage"
)

// Request is a validated request to a source.
type Request struct {
	Method   string  // Download or Copy
	Items    []Item  // sorted by ID
	Options  Options // defaults filled in
	Cache    string  // absolute path of the cache, osbuild's <store>/sources
	DstCache string  // Copy only: absolute path of the cache to copy into
}

// Item is one thing to fetch.
type Item struct {
	ID    digest.Digest // the key: image id (digest of the config blob) or digest of the manifest list
	Image Image         // the zero Image for org.osbuild.containers-storage
}

// Image says where to fetch an item from.
type Image struct {
	Name            string        // as the caller wrote it; a valid image reference without digest
	Digest          digest.Digest // pinned manifest digest; empty for org.osbuild.skopeo-index
	Pinned          digest.Digest // digest the name is pinned to, for the record: Digest or that of a list; not part of a request
	Platform        string        // that the image is for, for the log; not part of a request
	Access                        // how to reach the registry
	Transport       string        // Docker (default) or ContainersStorage
	StorageLocation string        // graph root of the store; empty means that of the host's storage.conf
}

// Access says how to reach a registry. It adds to the machine's configuration.
type Access struct {
	TLSVerify bool   // default true
	AuthFile  string // instead of the usual files; not part of a request
	CertDir   string // instead of certs.d; not part of a request
	Login     *Login // only login used for the name's registry, but not for its mirrors; not part of a request
}

// Login is a user and a password. Printing it omits the password.
type Login struct{ User, Password string }

func (l *Login) String() string { return l.User + ":***" }

// GoString implements fmt.GoStringer.
func (l *Login) GoString() string { return l.String() }

// Options tune the fetching. The schema documents their meaning and defaults.
type Options struct {
	Retries      int           // tries after the first failed one
	Timeout      time.Duration // give up an item without progress for this long, retries included
	StallTimeout time.Duration // reconnect after this long without progress
	MaxParallel  int           // parallel downloads
	Spelling     hint.Spelling // of options in hints

	// HeaderTimeout is how long a registry may take to send the first byte of an answer. It is at least
	// StallTimeout.
	HeaderTimeout time.Duration
}
