package containerdeploy

import (
	"testing"

	"osbuild-containers/test/userns"
)

// TestInUserNamespace runs the tests of the stage a second time, as osbuild runs it for an ordinary user.
// Left out are those that set owners of more than 65,536, or mount.
func TestInUserNamespace(t *testing.T) {
	userns.All(t, "^(TestTheSameTreeFromEveryFormat|TestWhatWasPackedComesBack|TestNothingOfTheBuildRootIsNeeded)$")
}
