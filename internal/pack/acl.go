package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// aclTags maps the tags of POSIX ACL entries to their text, and whether they name a user or group.
var aclTags = map[uint16]struct {
	kind  string
	named bool
}{
	0x01: {"user", false},
	0x02: {"user", true},
	0x04: {"group", false},
	0x08: {"group", true},
	0x10: {"mask", false},
	0x20: {"other", false},
}

// aclText converts a POSIX ACL from the kernel's format to its text form with numeric ids.
func aclText(raw string) (string, error) {
	b := []byte(raw)
	if len(b) < 4 || (len(b)-4)%8 != 0 {
		return "", fmt.Errorf("ACL of %d bytes is cut off", len(b))
	}
	if v := binary.LittleEndian.Uint32(b); v != 2 {
		return "", fmt.Errorf("ACL has version %d, want 2", v)
	}
	var entries []string
	for b = b[4:]; len(b) > 0; b = b[8:] {
		tag, ok := aclTags[binary.LittleEndian.Uint16(b)]
		perm := binary.LittleEndian.Uint16(b[2:])
		if !ok || perm > 7 {
			return "", errors.New("ACL has an entry that is not known")
		}
		id := ""
		if tag.named {
			id = strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b[4:])), 10)
		}
		mode := []byte("rwx")
		for i := range mode {
			if perm&(4>>i) == 0 {
				mode[i] = '-'
			}
		}
		entries = append(entries, tag.kind+":"+id+":"+string(mode))
	}
	return strings.Join(entries, ","), nil
}
