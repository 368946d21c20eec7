package pack

import "testing"

func TestTextOfACLs(t *testing.T) {
	for _, test := range []struct{ raw, want, err string }{
		{acl, aclAsText, ""},
		{"\x02\x00\x00\x00", "", ""},
		{"\x02\x00\x00\x00\x08\x00\x07\x00\xfe\xff\xff\xff", "group:4294967294:rwx", ""},
		{"", "", "ACL of 0 bytes is cut off"},
		{acl[:13], "", "ACL of 13 bytes is cut off"},
		{"\x01\x00\x00\x00", "", "ACL has version 1, want 2"},
		{"\x02\x00\x00\x00\x03\x00\x07\x00\xff\xff\xff\xff", "", "ACL has an entry that is not known"},
		{"\x02\x00\x00\x00\x01\x00\x08\x00\xff\xff\xff\xff", "", "ACL has an entry that is not known"},
	} {
		got, err := aclText(test.raw)
		if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) || got != test.want {
			t.Errorf("%q: got %q, %v; want %q, %q", test.raw, got, err, test.want, test.err)
		}
	}
}
