package ociarchive

import (
	"testing"

	"osbuild-containers/test/userns"
)

// TestInUserNamespace runs the tests of the stage a second time, as osbuild runs it for an ordinary user.
func TestInUserNamespace(t *testing.T) { userns.All(t, "^$") }
