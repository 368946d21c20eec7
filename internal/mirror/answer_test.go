package mirror

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestFinalAnswersToUploads checks that refused content is sent only once, and that the registry's message is shown.
func TestFinalAnswersToUploads(t *testing.T) {
	app := images.New(images.Layer(100))
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodPut} {
		for _, status := range []int{400, 402, 405, 412, 413, 451} {
			t.Run(fmt.Sprint(method, status), func(t *testing.T) {
				w := newWorld(t)
				w.push("app:v1", app)
				pins := w.pins("any", "registry.example/app:v1")
				at := registry.Method(method, "/blobs/uploads/")
				w.to.On(at, registry.Error(status, "SOMETHINGELSE", "the words of the registry"))
				if got := w.failure(pins); !strings.Contains(got, "the words of the registry") {
					t.Errorf("the error is %s", got)
				}
				if n := len(w.to.Matching(at)); n > 2 { // the layer, and the config
					t.Errorf("there were %d requests", n)
				}
			})
		}
	}
}
