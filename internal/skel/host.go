package skel

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"osbuild-containers/internal/hostsvc"
)

// readsResults is the first version of osbuild that looks at a reply. Those before it look for an
// exception only, and build on without an item that failed.
const readsResults = 186

var versionLine = regexp.MustCompile(`(?m)^__version__ = "(\d+)"`)

// hostVersion is the version of the osbuild that started us, 0 if that is not to be known. osbuild
// puts the folder of its Python package into PYTHONPATH of every service.
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

// toHost is the reply as the calling osbuild understands it. byFile says that the items came in a
// file, as osbuild up to v128 sends them: it cannot read a long reply either.
func (r Reply) toHost(byFile bool) (any, error) {
	version := hostVersion()
	old := byFile || version != 0 && version < readsResults
	if old && !r.Success {
		return nil, &hostsvc.Exception{Name: "RuntimeError", Value: r.Output}
	}
	if byFile {
		r.Results = r.Results[:0]
	}
	return r, nil
}
