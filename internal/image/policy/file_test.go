package policy

import (
	"errors"
	"testing"

	"github.com/containers/image/v5/signature"
)

// TestFiles pairs a policy.json with what it decides about the archive /a/b/c.tar: the longest path that it names counts, and
// docker-archive has no paths.
func TestFiles(t *testing.T) {
	const (
		accept = `[{"type": "insecureAcceptAnything"}]`
		reject = `[{"type": "reject"}]`
		signed = `[{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/none"}]`
	)
	for name, c := range map[string]struct {
		policy, transport string
		accepted, all     bool
	}{
		"accept":              {`{"default": ` + accept + `}`, "oci-archive", true, true},
		"reject":              {`{"default": ` + reject + `}`, "oci-archive", false, false},
		"accept and reject":   {`{"default": [{"type": "insecureAcceptAnything"}, {"type": "reject"}]}`, "oci-archive", false, false},
		"signed":              {`{"default": ` + signed + `}`, "oci-archive", false, false},
		"reject the file":     {`{"default": ` + accept + `, "transports": {"oci-archive": {"/a/b/c.tar": ` + reject + `}}}`, "oci-archive", false, false},
		"accept the file":     {`{"default": ` + reject + `, "transports": {"oci-archive": {"/a/b/c.tar": ` + accept + `}}}`, "oci-archive", true, false},
		"of a directory":      {`{"default": ` + accept + `, "transports": {"oci-archive": {"/a/b": ` + reject + `}}}`, "oci-archive", false, false},
		"of one above":        {`{"default": ` + accept + `, "transports": {"oci-archive": {"/a": ` + reject + `}}}`, "oci-archive", false, false},
		"the longest path":    {`{"default": ` + reject + `, "transports": {"oci-archive": {"/a": ` + reject + `, "/a/b": ` + accept + `}}}`, "oci-archive", true, false},
		"of another":          {`{"default": ` + accept + `, "transports": {"oci-archive": {"/a/c": ` + reject + `, "/a/b/c": ` + reject + `}}}`, "oci-archive", true, false},
		"of a transport":      {`{"default": ` + accept + `, "transports": {"oci-archive": {"": ` + reject + `}}}`, "oci-archive", false, false},
		"another transport":   {`{"default": ` + accept + `, "transports": {"oci": {"": ` + reject + `}}}`, "oci-archive", true, false},
		"docker-archive":      {`{"default": ` + accept + `, "transports": {"docker-archive": {"": ` + reject + `}}}`, "docker-archive", false, false},
		"docker-archive path": {`{"default": ` + reject + `, "transports": {"docker-archive": {"": ` + accept + `}}}`, "docker-archive", true, false},
	} {
		p, err := signature.NewPolicyFromBytes([]byte(c.policy))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := acceptsAll(p); got != c.all {
			t.Errorf("%s: accepts all: %v, want %v", name, got, c.all)
		}
		err = judge(t.Context(), p, unseen{Scope(c.transport, "/a/b/c.tar")})
		if (err == nil) != c.accepted || errors.Is(err, errUnseen) != (name == "signed") {
			t.Errorf("%s: got %v, accepted: want %v", name, err, c.accepted)
		}
	}
	if got := Scope("docker-archive", "/a/b/c.tar").PolicyConfigurationIdentity(); got != "" {
		t.Errorf("docker-archive: identity %q", got)
	}
}
