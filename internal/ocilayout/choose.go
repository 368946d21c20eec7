package ocilayout

import (
	"errors"
	"fmt"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
)

// choose returns the only image of the archive.
func (a *archiveReader) choose() (*Document, error) {
	l, err := layoutOf(a)
	if err != nil {
		return nil, err
	}
	for _, d := range l.Others {
		if len(l.Images) > 0 && errors.Is(d.Err, manifest.ErrArtifact) {
			continue // an attestation or signature of the image
		}
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, d.Err)
	}
	switch len(l.Images) {
	case 0:
		return nil, errors.New("there is no image in it")
	case 1:
		return l.Images[0], nil
	}
	several := &hint.List{What: fmt.Sprintf("there are %d images in it, want one", len(l.Images))}
	for _, d := range l.Images {
		several.Items = append(several.Items, d.Digest.String()+d.about)
	}
	return nil, hint.Add(several, "make an archive of one of them")
}
