package fetch

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"osbuild-containers/test/registry"
)

// signedURLs makes a registry redirect requests for a blob to URLs that differ each time, like signed ones.
func signedURLs(f *registry.Faults, storage *registry.Catcher, blob registry.Match) (issued *atomic.Int32) {
	issued = new(atomic.Int32)
	f.On(blob, registry.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("%s/bucket%s?X-Amz-Signature=%s&n=%d", storage.URL, r.URL.Path, password, issued.Add(1)), http.StatusTemporaryRedirect)
	})))
	return issued
}

const expired = `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message><HostId>x</HostId></Error>"

// TestSignedURLExpires checks that another URL is requested when the storage refuses one, and that the layer is resumed.
func TestSignedURLExpires(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	for name, c := range map[string]struct {
		spoil func(storage *registry.Catcher)
		asked []string
	}{
		"at once": {func(s *registry.Catcher) { s.On(registry.Any("").First(2), registry.Status(403, expired)) }, []string{"-", "-", "-"}},
		"in the middle": {func(s *registry.Catcher) {
			s.On(registry.Any("").First(1), registry.Truncate(30_000))
			s.On(registry.Any("").Nth(2), registry.Status(403, expired))
		}, []string{"-", "bytes=30000-", "bytes=30000-"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, image := serve(t, layered)
			storage := registry.NewCatcher(t)
			storage.Serve(string(layer.Digest), layer.Blob)
			c.spoil(storage)
			issued := signedURLs(f, storage, registry.Blob(string(layer.Digest)))
			w := newWorld(t)
			w.secrets = []string{password}
			w.images(itemOf(layered, image)).ok()
			w.has(layered)
			ranges(t, asked(storage.Faults, layer.Digest), c.asked...)
			if n := int(issued.Load()); n != len(c.asked) {
				t.Errorf("the registry gave %d URLs, want %d", n, len(c.asked))
			}
		})
	}
}

// TestStorageRefuses checks that the error names a storage that refuses every URL, with its reason, and has no hint about a
// login.
func TestStorageRefuses(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	for name, c := range map[string]struct {
		answer registry.Fault
		tries  int
		want   string
	}{
		"S3":    {registry.Status(403, expired), 2, "403 Forbidden: AccessDenied: Request has expired"},
		"Azure": {registry.Status(403, "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code><Message>Signature not valid in the specified time frame\nRequestId:1</Message></Error>"), 2, "403 Forbidden: AuthenticationFailed: Signature not valid in the specified time frame"},
		"GCS":   {registry.Status(400, "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"), 2, "400 Bad Request: ExpiredToken: The provided token has expired."},
		"401":   {registry.Status(401, ""), 2, "401 Unauthorized"},
		"410":   {registry.Status(410, ""), 2, "410 Gone"},
		"404":   {registry.Status(404, "<Error><Code>NoSuchKey</Code></Error>"), 1, "404 Not Found: NoSuchKey"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, image := serve(t, layered)
			storage := registry.NewCatcher(t)
			storage.On(registry.Any(""), c.answer)
			issued := signedURLs(f, storage, registry.Blob(string(layer.Digest)))
			w := newWorld(t)
			w.secrets = []string{password, "log in"}
			w.options.Retries = 1
			gaveUp := ""
			if c.tries > 1 {
				gaveUp = fmt.Sprintf(" (gave up after %d tries)", c.tries)
			}
			w.images(itemOf(layered, image)).failed("<name>: blob <layer>: redirected to <host>: "+c.want+gaveUp+
				"\n<host> says that, not the registry: check that host and, where a URL has expired, the clocks of both",
				"<name>", image+"@"+string(layered.Digest), "<layer>", string(layer.Digest), "<host>", storage.Addr)
			if n := int(issued.Load()); n != c.tries {
				t.Errorf("the registry gave %d URLs, want %d", n, c.tries)
			}
		})
	}
}

// TestSignaturesElsewhere checks that a lookaside server may lack signatures, and that its other errors are reported as its own.
func TestSignaturesElsewhere(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{404: "", 403: "403 Forbidden"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			f, image := serve(t, layered)
			web := registry.NewCatcher(t)
			web.On(registry.Any(""), registry.Status(status, ""))
			w := newWorld(t).alone()
			w.config(".config/containers/registries.d/signed.yaml", fmt.Sprintf("docker:\n  %s:\n    lookaside: %s/sigs\n", f.Addr, web.URL))
			out := w.images(itemOf(layered, image))
			if want == "" {
				out.ok()
				return
			}
			if got := out.Results[0].Error; !strings.Contains(got, web.Addr) || !strings.Contains(got, want) || strings.Contains(got, "log in") {
				t.Errorf("the error is %s", got)
			}
			if len(web.Requests()) == 0 {
				t.Error("no signature was asked for")
			}
		})
	}
}
