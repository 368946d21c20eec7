package inject

import (
	"fmt"
	"os"

	"osbuild-containers/internal/atomicfile"
)

// File is Apply for a manifest in a file, which Save then changes.
func File(path string, o Options) (*Result, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	result, err := Apply(raw, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	result.path = path
	return result, nil
}

// Save replaces the file that the manifest was read from. It does nothing if the manifest did not change.
func (r *Result) Save() error {
	if !r.Changed {
		return nil
	}
	return atomicfile.Replace(r.path, r.Data)
}
