package containerdeploy

import (
	"testing"

	"osbuild-containers/test/userns"
)

// TestInUserNamespace runs the stage's tests again as osbuild runs it for an ordinary user, except those that set owners above
// 65,536 or mount.
func TestInUserNamespace(t *testing.T) {
	userns.All(t, "^(TestTheSameTreeFromEveryFormat|TestPackedTreeRoundTrip|TestNothingOfTheBuildRootIsNeeded)$")
}
