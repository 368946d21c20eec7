package deploy

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"osbuild-containers/internal/layer"
)

// Names of whiteouts, see the image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh." // begins the names of aufs' own files, which are ignored
)

// maxLinks is how many symbolic links the resolution of a name may follow.
const maxLinks = 40

var errTooManyLinks = errors.New("runs through too many symbolic links")

// clean makes a name relative to the root, as a chroot would resolve it: ".." does not lead out of
// the root. The root is ".".
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

// join returns the name of base in the directory parent.
func join(parent, base string) string {
	if parent == "." {
		return base
	}
	return parent + "/" + base
}

// cut returns the first component of a name and the rest.
func cut(name string) (first, rest string) {
	if i := strings.IndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// resolve follows all symbolic links in name, the last component included, as under chroot:
// absolute targets start at the root, and ".." stops there.
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

// marker is the meaning of a name in a layer.
type marker int

const (
	plain        marker = iota
	whiteout            // hides the path in the layers below
	opaque              // hides the content of the directory in the layers below
	aufsMetadata        // ignored
)

// parse separates the marker in a name from the path that it applies to.
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
