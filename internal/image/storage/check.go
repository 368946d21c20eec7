package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// check refuses a store in the tree that is not a valid one, since the library trusts its content. Symbolic links, for
// example of lock files, would lead outside the tree; ids in records become paths; and layers marked incomplete are
// removed by id.
func check(root, driver string) error {
	switch info, err := os.Lstat(root); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("is not a directory")
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && foreign(name, driver):
			return filepath.SkipDir
		case d.IsDir(), d.Type().IsRegular(), name == filepath.Join(driver, "backingFsBlockDev"):
			return nil
		}
		return fmt.Errorf("%s in it is neither a file nor a directory, which a storage does not contain; remove it, or use another storage-path", name)
	})
	if err != nil {
		return err
	}
	for _, kind := range []string{"layers", "images", "containers"} {
		for _, name := range []string{kind + ".json", "volatile-" + kind + ".json"} {
			if err := checkRecords(root, filepath.Join(driver+"-"+kind, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// foreign reports whether a directory is not the store's own: layers and containers may contain anything, and files of
// other programs are not read.
func foreign(name, driver string) bool {
	parts := strings.Split(name, string(filepath.Separator))
	within := slices.Contains([]string{driver, driver + "-layers", driver + "-images", driver + "-containers"}, parts[0])
	if !within {
		return name != "."
	}
	for _, pattern := range []string{
		"overlay/l", "overlay/*/diff*", "overlay/staging/*/dir", "vfs/dir/*",
		"*/tempdirs/temp-dir-*",            // layers that are being removed
		"*-containers/*", "overlay/*/work", // containers
	} {
		if ok, _ := filepath.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// checkRecords refuses ids that are not file names.
func checkRecords(root, name string) error {
	raw, err := os.ReadFile(filepath.Join(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return nil
	}
	var records []struct {
		ID     string `json:"id"`
		Parent string `json:"parent"`
	}
	if err := json.Unmarshal(raw, &records); err != nil {
		return fmt.Errorf("%s in it is damaged: %w", name, err)
	}
	for _, r := range records {
		for _, id := range []string{r.ID, r.Parent} {
			if id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
				return fmt.Errorf("%s in it is damaged: invalid id %q", name, id)
			}
		}
	}
	return nil
}
