package inject

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
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

// Save replaces the file that the manifest was read from. Whoever dies when, the file is the old one
// or the new one; its mode stays, and a file that does not change is not written.
func (r *Result) Save() error {
	if !r.Changed {
		return nil
	}
	path := r.path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link goes on pointing to the manifest
	}
	if err := renameio.WriteFile(path, r.Data, 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("write %s: %w", r.path, err)
	}
	return nil
}
