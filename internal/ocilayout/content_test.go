package ocilayout

import (
	"context"
	"strings"
	"testing"

	"osbuild-containers/internal/manifest"
)

// A panic while a blob is copied is an error.
func TestEachPanic(t *testing.T) {
	err := each(t.Context(), make([]manifest.Descriptor, 2), func(context.Context, manifest.Descriptor) error { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "internal error: oh") {
		t.Errorf("got %v", err)
	}
}
