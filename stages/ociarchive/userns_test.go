package ociarchive

import (
	"testing"

	"osbuild-containers/test/userns"
)

// TestInUserNamespace runs the stage's tests again as osbuild runs it for an ordinary user.
func TestInUserNamespace(t *testing.T) { userns.All(t, "^$") }
