package request_test

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/request"
)

func item(id, name, pinned string) request.Item {
	return request.Item{ID: digest.Digest(id), Image: request.Image{Name: name, Digest: digest.Digest(pinned)}}
}

func TestNew(t *testing.T) {
	r, err := request.New("/c", []request.Item{
		item(idB, "example.com/b:1", pinned), item(idA, "example.com/z", pinned), item(idA, "example.com/a:1", pinned), item(pinned, "example.com/list", ""),
	}, request.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, it := range r.Items {
		got = append(got, it.ID.Encoded()[:1]+" "+it.Image.Name+" "+it.Image.Transport)
	}
	want := "a example.com/a:1 docker, b example.com/b:1 docker, d example.com/list docker"
	if strings.Join(got, ", ") != want || r.Cache != "/c" || r.Method != request.Download {
		t.Errorf("got %s in %q by %q, want %s", strings.Join(got, ", "), r.Cache, r.Method, want)
	}
}

func TestNewRefuses(t *testing.T) {
	good := request.DefaultOptions()
	with := func(set func(*request.Options)) request.Options {
		o := good
		set(&o)
		return o
	}
	for name, c := range map[string]struct {
		cache string
		items []request.Item
		opts  request.Options
		want  string
	}{
		"relative cache": {"c", nil, good, `cache: must be an absolute path, got "c"`},
		"no cache":       {"", nil, good, "cache: is empty: give an absolute path"},
		"retries":        {"/c", nil, with(func(o *request.Options) { o.Retries = -1 }), "retries: must be from 0 to 100, got -1"},
		"timeout":        {"/c", nil, with(func(o *request.Options) { o.Timeout = 0 }), "timeout: must be from 1s to 8760h0m0s, got 0s"},
		"stall-timeout":  {"/c", nil, with(func(o *request.Options) { o.StallTimeout = time.Millisecond }), "stall-timeout: must be from 1s to 8760h0m0s, got 1ms"},
		"header-timeout": {"/c", nil, with(func(o *request.Options) { o.HeaderTimeout = 9000 * time.Hour }), "header-timeout: must be from 1s to 8760h0m0s, got 9000h0m0s"},
		"max-parallel":   {"/c", nil, with(func(o *request.Options) { o.MaxParallel = 65 }), "max-parallel: must be from 1 to 64, got 65"},
		"key":            {"/c", []request.Item{item("sha256:1", "a", pinned)}, good, `a: its key must be sha256: and 64 lower-case hexadecimal digits, got "sha256:1"`},
		"digest":         {"/c", []request.Item{item(idA, "a", "sha512:1")}, good, `a: its digest must be sha256: and 64 lower-case hexadecimal digits, got "sha512:1"`},
		"no name":        {"/c", []request.Item{item(idA, "", pinned)}, good, "an image has no name: <A>"},
		"upper case":     {"/c", []request.Item{item(idA, "a/B", pinned)}, good, `name of an image: must be lower case: "a/B"`},
		"scheme":         {"/c", []request.Item{item(idA, "docker://a/b", pinned)}, good, `name of an image: leave out "docker://": "docker://a/b"`},
		"transport":      {"/c", []request.Item{{ID: digest.Digest(idA), Image: request.Image{Name: "a", Transport: "dir"}}}, good, `a: unknown transport "dir": it is docker or containers-storage`},
		"storage":        {"/c", []request.Item{{ID: digest.Digest(idA), Image: request.Image{Name: "a", StorageLocation: "x"}}}, good, `a: its storage location must be an absolute path, got "x"`},
		"two forms":      {"/c", []request.Item{item(idA, "a", pinned), item(idA, "b", idB)}, good, "b: <B> and a@<D> are the same image, <A>, in two forms, and a cache holds one: leave one out"},
	} {
		_, err := request.New(c.cache, c.items, c.opts)
		if err == nil || err.Error() != expand(c.want) {
			t.Errorf("%s: got %v, want %s", name, err, expand(c.want))
		}
	}
}
