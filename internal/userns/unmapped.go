package userns

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/userns"
)

// Unmapped reports whether an ID may stand for any user or group not mapped in the user namespace: the kernel shows all of them
// as one ID, so two of them may be different users. Outside of user namespaces it returns false.
func Unmapped(id uint32) bool {
	o := overflow()
	return (id == o[0] || id == o[1]) && userns.RunningInUserNS()
}

// overflow returns the IDs that the kernel shows for unmapped users and groups.
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
