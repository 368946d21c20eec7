package userns

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/userns"
)

// Unmapped reports whether a user or group id may be that of any user or group that the user namespace does not map: the
// kernel shows all of them as one. Two such ids are not known to be the same user. Outside of user namespaces there are
// none.
func Unmapped(id uint32) bool {
	o := overflow()
	return (id == o[0] || id == o[1]) && userns.RunningInUserNS()
}

// overflow are the ids that the kernel shows for users and groups that are not mapped.
var overflow = sync.OnceValue(func() (ids [2]uint32) {
	for n, name := range []string{"overflowuid", "overflowgid"} {
		ids[n] = 65534
		if text, err := os.ReadFile("/proc/sys/kernel/" + name); err == nil {
			if id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil {
				ids[n] = uint32(id)
			}
		}
	}
	return ids
})
