package ext4

import (
	"errors"
	"testing"
)

// Attributes come from strangers: whatever they are, they are stored or refused.
func FuzzAttribute(f *testing.F) {
	entry := func(tag, perm byte, id string) string { return string([]byte{tag, 0, perm, 0}) + id }
	const none = "\xff\xff\xff\xff"
	small := "\x02\x00\x00\x00" + entry(1, 7, none) + entry(4, 5, none) + entry(0x20, 5, none)
	f.Add(accessACL, small, uint32(typeFile|0o644))
	f.Add(defaultACL, small, uint32(typeDir|0o755))
	f.Add(accessACL, "\x02\x00\x00\x00"+entry(1, 7, none)+entry(2, 6, "\x01\x00\x00\x00")+entry(4, 5, none)+entry(0x10, 7, none)+entry(0x20, 5, none), uint32(typeFile|0o604))
	f.Add(accessACL, "\x02\x00\x00\x00", uint32(typeFile))
	f.Add("user.x", "", uint32(typeSymlink))
	f.Add("security.selinux", "label", uint32(typeFifo))
	f.Fuzz(func(t *testing.T, name, value string, mode uint32) {
		a, err := newAttr(&node{mode: mode}, name, value)
		var refused *AttrError
		switch {
		case err != nil:
			if a != nil || !errors.As(err, &refused) || refused.Attr != name {
				t.Errorf("%v and %v", a, err)
			}
		case a != nil:
			if a.fullName() != name || a.index != indexAccessACL && a.value != value {
				t.Errorf("%q is %q with %q", name, a.fullName(), a.value)
			}
			if len(a.onDisk()) > len(a.value) || a.entrySize() > attrEntry+maxAttrSuffix+1 {
				t.Errorf("%q: %d bytes are stored, of %d", name, len(a.onDisk()), len(a.value))
			}
		}
	})
}
