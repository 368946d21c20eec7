package containerdeploy

import (
	"encoding/json"
	"strconv"
	"time"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/request"
)

// options are the stage's options, as described in its schema.
type options struct {
	Exclude   []string        `json:"exclude"`
	LastLayer json.RawMessage `json:"last-layer"`
	UIDMap    []idRange       `json:"uid-map"`
	GIDMap    []idRange       `json:"gid-map"`
	Ignore    bool            `json:"ignore-owners"`
	Limits    struct {
		Entries    int64 `json:"entries"`
		LayerBytes int64 `json:"layer-bytes"`
		Depth      int   `json:"depth"`
	} `json:"limits"`
}

// idRange is one ID mapping: first ID in the image, first ID in the tree, length.
type idRange [3]uint32

func ranges(all []idRange) []deploy.IDRange {
	var r []deploy.IDRange
	for _, m := range all {
		r = append(r, deploy.IDRange{Container: m[0], Host: m[1], Count: m[2]})
	}
	return r
}

// check refuses options that contradict each other.
func (o options) check() error {
	if o.Ignore && len(o.UIDMap)+len(o.GIDMap) > 0 {
		return request.Refuse("options.ignore-owners", "must not be given with uid-map or gid-map, which keep owners")
	}
	return nil
}

// deploy converts the options to those of package deploy.
func (o options) deploy(epoch *int64) deploy.Options {
	d := deploy.Options{
		Exclude:      o.Exclude,
		UIDs:         ranges(o.UIDMap),
		GIDs:         ranges(o.GIDMap),
		IgnoreOwners: o.Ignore,
		Limits:       deploy.Limits{Entries: o.Limits.Entries, LayerBytes: o.Limits.LayerBytes, Depth: o.Limits.Depth},
	}
	if epoch != nil {
		d.Epoch = time.Unix(*epoch, 0)
	}
	return d
}

// upTo returns the layers up to and including options.last-layer.
func (o options) upTo(layers []deploy.Layer) ([]deploy.Layer, error) {
	const path = "options.last-layer"
	if len(o.LastLayer) == 0 {
		return layers, nil
	}
	last := string(o.LastLayer)
	if err := json.Unmarshal(o.LastLayer, &last); err != nil && !isNumber(last) {
		return nil, request.Refuse(path, "must be a number or a digest, got %s", o.LastLayer)
	}
	layers, err := deploy.UpTo(layers, last)
	if err != nil {
		return nil, request.Refuse(path, "%v", err)
	}
	return layers, nil
}

func isNumber(text string) bool {
	_, err := strconv.Atoi(text)
	return err == nil
}
