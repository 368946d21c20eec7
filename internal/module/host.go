package module

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"osbuild-containers/internal/hostsvc"
)

const (
	// inlineItems is the first version of osbuild that passes the items in the message and not in a
	// file. It is the oldest version that is supported.
	inlineItems = 129

	// readsResults is the first version of osbuild that reads replies. Earlier ones only look for an
	// exception, and continue the build without an item that failed.
	readsResults = 186
)

var versionLine = regexp.MustCompile(`(?m)^__version__ = "(\d+)"`)

// hostVersion returns the version of the osbuild that started this process, 0 if it is unknown. osbuild
// sets PYTHONPATH of every service to the directory of its Python package.
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

// toHost returns the reply in the form that a version of osbuild, 0 if unknown, understands.
func (r Reply) toHost(version int) (any, error) {
	if version != 0 && version < readsResults && !r.Success {
		return nil, &hostsvc.Exception{Name: "RuntimeError", Value: r.Output}
	}
	return r, nil
}
