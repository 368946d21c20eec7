// Package request decodes and checks the JSON that modules are called with: requests to sources and
// arguments of stages.
//
// It decodes in one direction: bytes, JSON without duplicate names, the module's JSON Schema, types. The
// result is safe to use: digests are parsed once, strictly; paths are absolute; names are valid references.
// An unknown field is an error that names it. See [Decode], [DecodeArgs] and [DecodeArguments].
package request

import (
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
)

// Methods a source answers.
const (
	Download = "download"
	Copy     = "copy"
)

// Transports an image can be read from.
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
	Pinned          digest.Digest // what the name is pinned to, for the record: Digest, or a list; a request cannot say it
	Access                        // how its registry is reached
	Transport       string        // Docker (default) or ContainersStorage
	StorageLocation string        // graph root of the store; empty: the host's storage.conf decides
}

// Access says how to reach a registry, in addition to the machine's configuration.
type Access struct {
	TLSVerify bool   // default true
	AuthFile  string // instead of the usual places; a request cannot say it
	CertDir   string // instead of certs.d; a request cannot say it
	Login     *Login // instead of all others, for the registry of the name, not for its mirrors; a request cannot say it
}

// Login is a user and a password. It prints without the password.
type Login struct{ User, Password string }

func (l *Login) String() string { return l.User + ":***" }

// GoString implements fmt.GoStringer.
func (l *Login) GoString() string { return l.String() }

// Options tune the fetching; see the schema for their meaning and defaults.
type Options struct {
	Retries      int           // further tries after one that failed
	Timeout      time.Duration // give an item up when it made no progress for so long, retries included
	StallTimeout time.Duration // reconnect when a connection made no progress for so long
	MaxParallel  int           // downloads at one time
	Spelling     hint.Spelling // of options in hints

	// HeaderTimeout is how long a registry may take until the first byte of an answer comes; a value
	// below StallTimeout counts as StallTimeout.
	HeaderTimeout time.Duration
}
