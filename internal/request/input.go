package request

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Input is one input of a stage.
type Input struct {
	Path string // absolute

	data map[string]any // contents depend on the kind of input
	at   []string       // path within the arguments
}

// Formats of an image that a stage can read.
const (
	FormatDir               = "dir"
	FormatOCIArchive        = "oci-archive"
	FormatContainersStorage = "containers-storage"
)

// InputImage is one image of an input.
type InputImage struct {
	Path   string // of the directory, the archive or the store
	Key    string // the image id, or the name of the archive
	Format string // one of the formats above
	Name   string // name to give the image, as the caller wrote it
	Driver string // containers-storage only: driver set in the host's storage.conf, or empty
}

// Images returns the images of an input of org.osbuild.containers or org.osbuild.containers-storage, sorted by key. A
// refusal is an [*Error].
func (in Input) Images() ([]InputImage, error) {
	var found problems
	archives, at := in.entries("archives", &found)
	images := make([]InputImage, 0, len(archives))
	for key, v := range archives {
		images = append(images, in.image(key, v, append(slices.Clone(at), key), &found))
	}
	slices.SortFunc(images, func(a, b InputImage) int { return strings.Compare(a.Key, b.Key) })
	return images, found.err()
}

func (in Input) image(key string, v any, at []string, found *problems) InputImage {
	img := InputImage{Key: key, Path: filepath.Join(in.Path, key)}
	fields, ok := v.(map[string]any)
	if !ok {
		found.add(joinPath(at...), "must be an object, got %s", describe(v))
		return img
	}
	field := func(name string, to *string) {
		v, given := fields[name]
		var ok bool
		if *to, ok = v.(string); !given {
			found.add(joinPath(at...), "field %q is missing", name)
		} else if !ok {
			found.add(joinPath(append(at, name)...), "must be a string, got %s", describe(v))
		}
	}
	field("name", &img.Name)
	field("format", &img.Format)
	switch img.Format {
	case "":
	case FormatDir, FormatOCIArchive:
		checkFileName(key, at, found)
	case FormatContainersStorage:
		if _, ok := parseDigest(key); !ok {
			found.add(joinPath(at[:len(at)-1]...), "a key %s", notDigest(key))
		}
		img.Path = filepath.Join(in.Path, "storage")
		storage, _ := fields["storage"].(map[string]any)
		img.Driver, _ = storage["driver"].(string)
	default:
		found.add(joinPath(append(at, "format")...), `must be "dir" or "oci-archive" or "containers-storage", got %s`, quote(img.Format))
	}
	return img
}

// InputFile is one file of an input.
type InputFile struct {
	Path string
	Key  string // by convention a digest
}

// Files returns the files of an input of org.osbuild.files, sorted by key. A refusal is an [*Error].
func (in Input) Files() ([]InputFile, error) {
	var found problems
	entries, at := in.entries("files", &found)
	files := make([]InputFile, 0, len(entries))
	for key := range entries {
		if !filepath.IsLocal(key) || strings.ContainsRune(key, 0) {
			found.add(joinPath(at...), "a key must be the path of a file below the input, got %s", quote(key))
		}
		files = append(files, InputFile{Path: filepath.Join(in.Path, key), Key: key})
	}
	slices.SortFunc(files, func(a, b InputFile) int { return strings.Compare(a.Key, b.Key) })
	return files, found.err()
}

// entries returns the named object of the input's data, and its path.
func (in Input) entries(name string, found *problems) (map[string]any, []string) {
	at := append(slices.Clone(in.at), "data", name)
	v, given := in.data[name]
	entries, ok := v.(map[string]any)
	switch {
	case !given:
		found.add(joinPath(at[:len(at)-1]...), "field %q is missing", name)
	case !ok:
		found.add(joinPath(at...), "must be an object, got %s", describe(v))
	}
	return entries, at
}

// ImageID returns the key if it is an image id, or "".
func (img InputImage) ImageID() digest.Digest {
	id, _ := parseDigest(img.Key)
	return id
}

// checkFileName refuses a key that is not a file name within the input's directory.
func checkFileName(key string, at []string, found *problems) {
	if key == "" || key == "." || key == ".." || strings.ContainsAny(key, "/\x00") {
		found.add(joinPath(at[:len(at)-1]...), "a key must be the name of a file, got %s", quote(key))
	}
}
