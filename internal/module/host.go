package module

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"osbuild-containers/internal/hostsvc"
)

const (
	// inlineItems is the first version of osbuild that passes the items in the message; those before
	// it pass a file. It is the oldest one that is supported.
	inlineItems = 129

	// readsResults is the first version of osbuild that looks at a reply. Those before it look for an
	// exception only, and continue the build without an item that failed.
	readsResults = 186
)

var versionLine = regexp.MustCompile(`(?m)^__version__ = "(\d+)"`)

// hostVersion returns the version of the osbuild that started this process, 0 if it is unknown. osbuild
// puts the directory of its Python package into PYTHONPATH of every service.
func hostVersion() int {
	raw, err := os.ReadFile(filepath.Join(os.Getenv("PYTHONPATH"), "osbuild", "__init__.py"))
	if err != nil {
		return 0
	}
	m := versionLine.FindSubmatch(raw)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return n
}

// toHost returns the reply as the given version of osbuild, 0 for an unknown one, understands it.
func (r Reply) toHost(version int) (any, error) {
	if version != 0 && version < readsResults && !r.Success {
		return nil, &hostsvc.Exception{Name: "RuntimeError", Value: r.Output}
	}
	return r, nil
}
