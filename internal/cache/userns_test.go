package cache

import (
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/userns"
)

// In a user namespace, a user or group that it does not map is not trusted, even where this process has one, too.
func TestUnmappedOwnersAreNotTrusted(t *testing.T) {
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	const overflow = 65534
	defer func(user int, all func() []int) { euid, groups = user, all }(euid, groups)
	euid, groups = overflow, func() []int { return []int{0, overflow} }
	for st, trusted := range map[unix.Stat_t]bool{
		{Uid: 0, Mode: 0o755}:                    true,
		{Uid: 0, Gid: 0, Mode: 0o775}:            true,
		{Uid: 0, Gid: overflow, Mode: 0o755}:     true,
		{Uid: 0, Gid: overflow, Mode: 0o775}:     false,
		{Uid: overflow, Gid: 0, Mode: 0o755}:     false,
		{Uid: overflow - 1, Gid: 0, Mode: 0o755}: false,
	} {
		if why := distrust(&st); (why == "") != trusted {
			t.Errorf("owner %d:%d, mode %o: got %q, want it trusted: %t", st.Uid, st.Gid, st.Mode, why, trusted)
		}
	}
}
