package verify

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
)

// examine checks all of an image but its blobs, which it adds to the files to read. It returns nil if the image no
// longer exists.
func (r *reader) examine(i *cacheinfo.Image) *report {
	pub, err := r.cache.OpenImage(i.ID)
	if err != nil {
		return nil
	}
	defer pub.Close()
	e := &report{Image: i.Recorded(pub)}
	if err := pub.CheckVersion(); err != nil {
		e.unreadable(PartVersion, "", filepath.Join(pub.Path(), "version"), err)
	}
	path := filepath.Join(pub.Path(), "manifest.json")
	raw, err := pub.Manifest()
	if err != nil {
		e.unreadable(PartManifest, e.only(e.List), path, err)
		return e
	}
	m, err := manifest.Parse(raw)
	if err == nil && (m.List || m.Config.Digest != i.ID) {
		err = errNotOfImage
	}
	got := digest.FromBytes(raw)
	vouched := e.checkList(pub, got)
	if err != nil {
		e.unreadable(PartManifest, e.only(e.List), path, err)
		return e
	}
	vouched = e.checkSchema1(pub, raw, m) || vouched
	switch pins := e.pins(); {
	case vouched, slices.Contains(pins, got):
	case len(pins) > 0:
		e.addDamage(PartManifest, e.only(e.List), path, "%s", got)
	default:
		e.unvouched = !e.isUnpacked()
	}
	e.checkSignatures(pub, got)
	for _, d := range m.Blobs() {
		r.addBlob(e, pub, d, m.Config.Digest)
	}
	return e
}

// pins returns the recorded digests under which the image was fetched, without duplicates.
func (e *report) pins() []digest.Digest {
	var pins []digest.Digest
	for _, o := range e.Origins {
		if !image.TransportOf(o.Transport).Unpacked && o.Digest != "" && !slices.Contains(pins, o.Digest) {
			pins = append(pins, o.Digest)
		}
	}
	return pins
}

// only returns the one pin not in but; "" if there is none or more than one.
func (e *report) only(but ...digest.Digest) digest.Digest {
	left := slices.DeleteFunc(e.pins(), func(d digest.Digest) bool { return slices.Contains(but, d) })
	if len(left) != 1 {
		return ""
	}
	return left[0]
}

// isUnpacked reports whether the image is from a transport that stores layers unpacked. Its manifest was then made from
// the config, which verifies the layers.
func (e *report) isUnpacked() bool {
	return slices.ContainsFunc(e.Origins, func(o cache.Origin) bool { return image.TransportOf(o.Transport).Unpacked })
}

// checkList checks the list next to the image, and reports whether a recorded digest verifies the manifest through it. A
// list with a recorded digest is right. Any other must agree with the pins, or, without pins, with the manifest.
func (e *report) checkList(pub *cache.Published, served digest.Digest) (vouched bool) {
	path := filepath.Join(filepath.Dir(pub.Path()), "manifest-list.json")
	raw, err := pub.List()
	if err != nil {
		e.unreadable(PartList, e.only(served), path, err)
		return true // unknown without the list
	}
	if raw == nil {
		return false
	}
	got, pins := digest.FromBytes(raw), e.pins()
	list, err := manifest.Parse(raw)
	names := func(d digest.Digest) bool {
		return err == nil && slices.ContainsFunc(list.Entries, func(l manifest.Entry) bool { return l.Digest == d })
	}
	wrong := func() { e.addDamage(PartList, e.only(served), path, "%s", got) }
	switch {
	case slices.Contains(pins, got):
		return names(served)
	case slices.Contains(pins, served):
		if len(pins) > 1 || !names(served) {
			wrong()
		}
		return true
	case len(pins) == 0:
		if !names(served) {
			wrong()
		}
		return false
	case slices.ContainsFunc(pins, names): // the list is right, so the manifest is wrong
		return false
	}
	wrong()
	return true // unknown without the list
}

// checkSchema1 checks the schema 1 manifest next to the image, if any, and reports whether it converts to the image. Damage
// of the config is found when that is read.
func (e *report) checkSchema1(pub *cache.Published, raw []byte, m *manifest.Manifest) (vouched bool) {
	dir := filepath.Dir(pub.Path())
	path := filepath.Join(dir, "schema1.json")
	old, err := pub.Schema1()
	if err != nil {
		e.unreadable(PartSchema1, e.only(), path, err)
		return true // unknown without it
	}
	if old == nil {
		return false
	}
	got, err := schema1.Digest(old.Manifest)
	if pins := e.pins(); err == nil && len(pins) > 0 && !slices.Contains(pins, got) && !slices.Contains(pins, digest.FromBytes(raw)) {
		e.addDamage(PartSchema1, e.only(), path, "%s", got)
		return true // unknown without it
	}
	for n, sig := range old.Signatures {
		if err := checkSignature(sig, got, ""); err != nil {
			e.unreadable(PartSignature, "", filepath.Join(dir, "schema1-signature-"+itoa(n+1)), err)
		}
	}
	config, e2 := pub.Config(m.Config)
	if e2 != nil {
		return true
	}
	if err == nil {
		err = schema1.Gives(old.Manifest, raw, config)
	}
	if err != nil {
		e.unreadable(PartSchema1, e.only(), path, err)
	}
	return true
}

// checkSignatures checks that signatures can be read and name the image, where they name one in clear text. They were
// verified by the policy of the machine that published them.
func (e *report) checkSignatures(pub *cache.Published, served digest.Digest) {
	sigs, err := pub.Signatures()
	if err != nil {
		e.unreadable(PartSignature, "", pub.Path(), err)
		return
	}
	for n, sig := range sigs {
		path := filepath.Join(pub.Path(), "signature-"+itoa(n+1))
		if err := checkSignature(sig, served, e.List); err != nil {
			e.unreadable(PartSignature, "", path, err)
		}
	}
}

// openPGP is the bit set in the first byte of every OpenPGP message.
const openPGP = 0x80

func checkSignature(sig []byte, served, list digest.Digest) error {
	rest, sigstore := bytes.CutPrefix(sig, cacheinfo.SigstorePrefix)
	if !sigstore {
		if len(sig) == 0 || sig[0]&openPGP == 0 {
			return errNoSignature
		}
		return nil
	}
	var signed struct {
		MIMEType string `json:"mimeType"`
		Payload  []byte `json:"payload"`
	}
	if manifest.Unmarshal(rest, &signed) != nil {
		return errNoSignature
	}
	if !strings.Contains(signed.MIMEType, "simplesigning") { // an attestation
		return nil
	}
	var claims struct {
		Critical struct {
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if manifest.Unmarshal(signed.Payload, &claims) != nil {
		return errNoSignature
	}
	if d := claims.Critical.Image.Digest; d != served && d != list {
		return &mismatch{got: string(d), want: string(served)}
	}
	return nil
}
