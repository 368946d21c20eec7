// Package userns knows what the kernel reserves to root of the host, as opposed to root of a user namespace or an ordinary user:
// it counts what is therefore left out of an image, and adds hints to the kernel's errors.
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

// OwnerError wraps an error of setting the owner uid:gid. It has a hint if the owner is not mapped, or there is no user namespace.
func OwnerError(uid, gid int, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("set owner %d:%d: %w", uid, gid, err)
	return hint.With(err, Remedy(err))
}

// Remedy returns the hint for an error of setting an owner or an ACL, or the zero Hint for all other errors.
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

// IDs are IDs mapped in a user namespace.
type IDs struct{ uids, gids []user.IDMap }

// Mapped returns the IDs mapped in this process's user namespace.
func Mapped() IDs {
	uids, uidErr := user.CurrentProcessUIDMap()
	gids, gidErr := user.CurrentProcessGIDMap()
	if uidErr != nil || gidErr != nil { // without /proc, the kernel reports the error later
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

// mapped returns the IDs of a map as text, such as 0-65536.
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
