package ocilayout

import (
	"errors"
	"fmt"
	"strings"

	"osbuild-containers/internal/manifest"
)

// choose finds the one image of the archive.
func (a *archiveReader) choose() (*Document, error) {
	l, err := layoutOf(a)
	if err != nil {
		return nil, err
	}
	for _, d := range l.Others {
		if len(l.Images) > 0 && errors.Is(d.Err, manifest.ErrArtifact) {
			continue // an attestation or a signature of the image
		}
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, d.Err)
	}
	switch len(l.Images) {
	case 0:
		return nil, errors.New("there is no image in it")
	case 1:
		return l.Images[0], nil
	}
	lines := []string{fmt.Sprintf("there are %d images in it, and one is wanted: make an archive of one of them", len(l.Images))}
	for _, d := range l.Images {
		lines = append(lines, "  "+d.Digest.String()+d.about)
	}
	return nil, errors.New(strings.Join(lines, "\n"))
}
