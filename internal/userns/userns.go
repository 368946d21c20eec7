// Package userns knows what the kernel allows only to root of the host, and not to root of a user namespace or to an
// ordinary user: it counts what is left out of an image for that reason, and explains the errors of the kernel.
package userns

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/user"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// Restricted reports whether this process is not root of the host.
func Restricted() bool { return userns.RunningInUserNS() || unix.Geteuid() != 0 }

// OwnerError wraps the error of a call that gave something the owner uid:gid. Where the reason is that the user namespace
// does not map the owner, or that there is none, it has a hint.
func OwnerError(uid, gid int, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("set owner %d:%d: %w", uid, gid, err)
	return hint.With(err, Remedy(err))
}

// Remedy returns what helps against an error of giving something an owner, or an ACL with owners, and none for all
// other errors.
func Remedy(err error) hint.Hint {
	switch {
	case errors.Is(err, unix.EINVAL) && userns.RunningInUserNS():
		return hint.New("the user namespace maps only uids %s and gids %s: give the user who builds more ids in /etc/subuid and /etc/subgid"+
			" (usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER), or set the option %s",
			mapped(user.CurrentProcessUIDMap), mapped(user.CurrentProcessGIDMap), hint.Option("ignore-owners"))
	case errors.Is(err, unix.EPERM) && unix.Geteuid() != 0:
		return hint.New("only root can give files to others: run this in a user namespace, for example with podman unshare, or set the option %s", hint.Option("ignore-owners"))
	default:
		return hint.Hint{}
	}
}

// IDs are the ids that the user namespace of this process maps.
type IDs struct{ uids, gids []user.IDMap }

// Mapped returns the ids that the user namespace of this process maps.
func Mapped() IDs {
	uids, uidErr := user.CurrentProcessUIDMap()
	gids, gidErr := user.CurrentProcessGIDMap()
	if uidErr != nil || gidErr != nil { // without /proc, the kernel says it later
		all := []user.IDMap{{Count: 1 << 32}}
		return IDs{all, all}
	}
	return IDs{uids, gids}
}

// Has reports whether the owner uid:gid is mapped.
func (i IDs) Has(uid, gid int) bool { return has(i.uids, int64(uid)) && has(i.gids, int64(gid)) }

func has(all []user.IDMap, id int64) bool {
	return slices.ContainsFunc(all, func(m user.IDMap) bool { return id >= m.ID && id-m.ID < m.Count })
}

// mapped returns the ids of a map, as 0-65536.
func mapped(read func() ([]user.IDMap, error)) string {
	all, err := read()
	if err != nil {
		return "unknown"
	}
	var ranges []string
	next := int64(-1)
	for _, m := range all {
		last := fmt.Sprint(m.ID + m.Count - 1)
		switch n := len(ranges); {
		case n > 0 && m.ID == next:
			first, _, _ := strings.Cut(ranges[n-1], "-")
			ranges[n-1] = first + "-" + last
		case m.Count == 1:
			ranges = append(ranges, last)
		default:
			ranges = append(ranges, fmt.Sprint(m.ID)+"-"+last)
		}
		next = m.ID + m.Count
	}
	return strings.Join(ranges, ",")
}
