package deploy

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"osbuild-containers/internal/layer"
)

// The names of whiteouts. See the image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh." // begins the names of aufs' own files, which mean nothing
)

// maxLinks is how many symbolic links a name may run through.
const maxLinks = 40

var errTooManyLinks = errors.New("runs through too many symbolic links")

// clean makes a name one that a chroot would find: relative to the root, from which
// ".." does not lead out. The root is ".".
func clean(name string) string {
	name = path.Clean("/" + name)
	if name == "/" {
		return "."
	}
	return name[1:]
}

// split returns the parent and the last component of a clean name.
func split(name string) (parent, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}

// join returns the name of base in a directory.
func join(parent, base string) string {
	if parent == "." {
		return base
	}
	return parent + "/" + base
}

// cut returns the first component and the others.
func cut(name string) (first, rest string) {
	if i := strings.IndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// resolve follows the symbolic links that name runs through, its last component too,
// as a chroot does: absolute targets begin at the root, and ".." ends there.
func resolve(name string, readlink func(name string) (string, bool)) (string, error) {
	at, rest := ".", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		c := rest[0]
		rest = rest[1:]
		switch c {
		case "", ".":
			continue
		case "..":
			at, _ = split(at)
			continue
		}
		if len(at)+len(c) > maxName {
			return "", fmt.Errorf("%.100q leads to a long path: %w", name, &layer.LimitError{What: "bytes in a name", Limit: maxName})
		}
		next := join(at, c)
		target, ok := readlink(next)
		if !ok {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%q %w", name, errTooManyLinks)
		}
		if strings.HasPrefix(target, "/") {
			at = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// marker is what a name of a layer means.
type marker int

const (
	plain        marker = iota
	whiteout            // the layers below lose what has the name
	opaque              // the layers below lose what is in the directory
	aufsMetadata        // it means nothing
)

// parse tells whiteouts from names and returns what they are about.
func parse(name string) (marker, string, error) {
	if !strings.Contains(name, whiteoutPrefix) {
		return plain, name, nil
	}
	parent, base := split(name)
	for c := range strings.SplitSeq(parent, "/") {
		switch {
		case strings.HasPrefix(c, aufsPrefix):
			return aufsMetadata, name, nil
		case strings.HasPrefix(c, whiteoutPrefix):
			return plain, "", errors.New("a path below a whiteout")
		}
	}
	switch {
	case base == opaqueMarker:
		return opaque, parent, nil
	case strings.HasPrefix(base, aufsPrefix):
		return aufsMetadata, name, nil
	case strings.HasPrefix(base, whiteoutPrefix):
		base = base[len(whiteoutPrefix):]
		if base == "" || base == "." || base == ".." {
			return plain, "", errors.New("a whiteout of nothing, of its own directory or of its parent")
		}
		return whiteout, join(parent, base), nil
	}
	return plain, name, nil
}
