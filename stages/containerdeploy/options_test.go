package containerdeploy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/request"
)

func decode(t *testing.T, text string) options {
	t.Helper()
	a, err := request.DecodeArguments(Stage.Name, []byte(`{"tree": "/t", "inputs": {"images": {"path": "/i"}}, "options": `+text+`}`))
	if err != nil {
		t.Fatal(err)
	}
	var o options
	if err := json.Unmarshal(a.Options, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOptionsMeanWhatTheSchemaSays(t *testing.T) {
	epoch := int64(1700000000)
	got := decode(t, `{"exclude": ["usr/share/doc"], "remove-signatures": true, "uid-map": [[0, 100000, 65536]],
		"gid-map": [[0, 5, 1], [1, 200000, 65535]], "limits": {"entries": 10, "layer-bytes": 20, "depth": 30}}`).deploy(&epoch)
	want := deploy.Options{
		Exclude: []string{"usr/share/doc"},
		UIDs:    []deploy.IDRange{{Container: 0, Host: 100000, Count: 65536}},
		GIDs:    []deploy.IDRange{{Container: 0, Host: 5, Count: 1}, {Container: 1, Host: 200000, Count: 65535}},
		Limits:  deploy.Limits{Entries: 10, LayerBytes: 20, Depth: 30},
		Epoch:   time.Unix(epoch, 0),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := decode(t, `{"ignore-owners": true}`).deploy(nil); !got.IgnoreOwners {
		t.Errorf("ignore-owners is lost: %+v", got)
	}
	if got := decode(t, `{}`).deploy(nil); !reflect.DeepEqual(got, deploy.Options{}) {
		t.Errorf("no options are %+v, want nothing", got)
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"exclude": []}`:                   "options.exclude",
		`{"exclude": "usr"}`:                "options.exclude",
		`{"uid-map": [[0, 1]]}`:             "options.uid-map",
		`{"gid-map": [[0, 1, -1]]}`:         "options.gid-map",
		`{"uid-map": [[0, 4294967296, 1]]}`: "options.uid-map",
		`{"last-layer": 0}`:                 "options.last-layer",
		`{"last-layer": "latest"}`:          "options.last-layer",
		`{"limits": {"bytes": 1}}`:          "options.limits",
		`{"ignore-owners": "yes"}`:          "options.ignore-owners",
		`{"other": 1}`:                      "other",
	} {
		_, err := request.DecodeArguments(Stage.Name, []byte(`{"tree": "/t", "inputs": {"images": {"path": "/i"}}, "options": `+text+`}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %s", text, err, want)
		}
	}
}

func TestLastLayer(t *testing.T) {
	d := func(s string) digest.Digest { return digest.FromString(s) }
	layers := []deploy.Layer{{Digest: d("1"), DiffID: d("a")}, {Digest: d("2"), DiffID: d("b")}, {Digest: d("3"), DiffID: d("c")}}
	for text, want := range map[string]int{
		`{}`: 3, `{"last-layer": 1}`: 1, `{"last-layer": 3}`: 3,
		`{"last-layer": "` + d("2").String() + `"}`: 2,
		`{"last-layer": "` + d("a").String() + `"}`: 1,
	} {
		got, err := decode(t, text).upTo(layers)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d layers, want %d, error %v", text, len(got), want, err)
		}
	}
	for text, want := range map[string]string{
		`{"last-layer": 4}`:                         "options.last-layer: the image has 3 layers, got 4",
		`{"last-layer": "` + d("x").String() + `"}`: "no layer of the image has the digest or diff id " + d("x").String(),
	} {
		if _, err := decode(t, text).upTo(layers); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}
