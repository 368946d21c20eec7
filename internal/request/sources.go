package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Sources that an osbuild manifest may have.
const (
	imageSource  = "org.osbuild.skopeo"
	listSource   = "org.osbuild.skopeo-index"
	storedSource = "org.osbuild.containers-storage"
)

// Wanted are the items that an osbuild manifest has for the sources of this project.
type Wanted struct {
	Images []Item // of org.osbuild.skopeo
	Lists  []Item // of org.osbuild.skopeo-index
	Stored []Item // of org.osbuild.containers-storage: nothing is fetched for them
}

// DecodeManifest finds the items in an osbuild manifest. A manifest whose items are refused is an
// *Error, with where in the manifest they are.
func DecodeManifest(raw []byte) (*Wanted, error) {
	var manifest, sources map[string]json.RawMessage
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("not an osbuild manifest: %w", err)
	}
	if inner := manifest["manifest"]; inner != nil && manifest["version"] == nil && manifest["sources"] == nil {
		return DecodeManifest(inner) // as osbuild/images writes the manifests of its tests
	}
	if manifest["sources"] == nil && manifest["pipelines"] == nil {
		return nil, errors.New("not an osbuild manifest: it has neither sources nor pipelines")
	}
	if manifest["sources"] != nil {
		if err := json.Unmarshal(manifest["sources"], &sources); err != nil {
			return nil, fmt.Errorf("not an osbuild manifest: sources: %w", err)
		}
	}
	w := &Wanted{}
	for name, items := range map[string]*[]Item{imageSource: &w.Images, listSource: &w.Lists, storedSource: &w.Stored} {
		if sources[name] == nil {
			continue
		}
		found, err := decodeSource(name, sources[name])
		if err != nil {
			return nil, err
		}
		*items = found
	}
	return w, nil
}

// decodeSource makes of a source's part of a manifest what osbuild would make: a call.
func decodeSource(name string, raw []byte) ([]Item, error) {
	var call map[string]json.RawMessage
	if err := json.Unmarshal(raw, &call); err != nil || call == nil {
		return nil, Refuse(joinPath("sources", name), "must be an object")
	}
	call["cache"] = json.RawMessage(`"/"`)
	delete(call, "dst_cache")
	args, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	r, err := DecodeArgs(name, Download, args)
	if refusal, ok := errors.AsType[*Error](err); ok {
		for n := range refusal.Problems {
			p := &refusal.Problems[n]
			p.Path = strings.TrimSuffix(joinPath("sources", name)+"."+p.Path, ".")
		}
	}
	if err != nil {
		return nil, err
	}
	return r.Items, nil
}
