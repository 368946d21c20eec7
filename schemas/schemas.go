// Package schemas embeds the modules' meta.json files and the JSON Schemas of requests and pin files.
//
// osbuild reads a module's meta.json when it loads a manifest, and the module validates its request against the same file. The
// schemas are JSON Schema Draft 4. Their patterns are anchored and mean the same to Python's re and Go's regexp.
package schemas

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.json sources/*.meta.json stages/*.meta.json
var files embed.FS

// Meta returns the meta.json of the source, for example org.osbuild.skopeo. It is an error if there is no such source.
func Meta(name string) ([]byte, error) { return meta("sources", name) }

// Stage returns the meta.json of the stage, which may have the name of a source.
func Stage(name string) ([]byte, error) { return meta("stages", name) }

// Modules returns the names of all modules of a kind, sources or stages, sorted.
func Modules(kind string) []string {
	entries, err := files.ReadDir(kind)
	if err != nil {
		panic(err) // it is embedded
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".meta.json"))
	}
	return names
}

func meta(kind, name string) ([]byte, error) {
	b, err := files.ReadFile(kind + "/" + name + ".meta.json")
	if err != nil {
		return nil, fmt.Errorf("no module is called %q", name)
	}
	return b, nil
}

// PinFile returns the schema of the pin file containers.lock.json.
func PinFile() []byte {
	b, err := files.ReadFile("containers.lock.schema.json")
	if err != nil {
		panic(err) // it is embedded
	}
	return b
}

// Request returns the schema of a request on standard input, without items and options, which differ between sources.
func Request() []byte {
	b, err := files.ReadFile("request.schema.json")
	if err != nil {
		panic(err) // it is embedded
	}
	return b
}
