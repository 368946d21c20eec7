package cache

import (
	"bytes"
	"fmt"
	"strings"

	"osbuild-containers/internal/manifest"
)

// Files next to image/ of an image that was converted from Docker's schema 1. A reader checks that they are of
// the image: they are replaced one by one.
const (
	schema1Prefix = "schema1"
	schema1File   = schema1Prefix + ".json"
)

func schema1Signature(i int) string { return fmt.Sprintf("%s-signature-%d", schema1Prefix, i) }

// Schema1 is a manifest of Docker's schema 1 that an image was converted from. The image is pinned by its digest, and
// signatures are of it.
type Schema1 struct {
	Manifest   []byte // as served
	Signatures [][]byte
}

// Schema1 reads the manifest of schema 1 that the image was converted from, nil if there is none.
func (p *Published) Schema1() (*Schema1, error) {
	raw, err := p.containers.read(p.beside(schema1File))
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &Schema1{Manifest: raw}
	s.Signatures, err = readSignatures(func(i int) ([]byte, error) { return p.containers.read(p.beside(schema1Signature(i))) })
	return s, err
}

// readSignatures reads signatures 1, 2, … until one is absent.
func readSignatures(read func(i int) ([]byte, error)) ([][]byte, error) {
	var sigs [][]byte
	var size int64
	for i := 1; ; i++ {
		sig, err := read(i)
		if isAbsent(err) {
			return sigs, nil
		}
		if err == nil {
			size += int64(len(sig))
			err = manifest.CheckSignatures(i, size)
		}
		if err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
		sigs = append(sigs, sig)
	}
}

// putSchema1 writes the manifest of schema 1 next to the image, unless it is stored already; nil removes it.
func (s *stage) putSchema1(parent *dir, old *Schema1) error {
	files := map[string][]byte{}
	if old != nil {
		files[schema1File] = old.Manifest
		for i, sig := range old.Signatures {
			files[schema1Signature(i+1)] = sig
		}
	}
	if err := removeSchema1(parent, files); err != nil {
		return err
	}
	for name, content := range files {
		if is, err := parent.read(name); err == nil && bytes.Equal(is, content) {
			continue
		}
		if err := writeFile(s.dir, name, content); err != nil {
			return err
		}
		if err := s.dir.rename(name, parent, name); err != nil {
			return err
		}
	}
	return nil
}

// removeSchema1 removes the files of putSchema1 but some.
func removeSchema1(parent *dir, but map[string][]byte) error {
	names, err := parent.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, keep := but[name]; keep || !strings.HasPrefix(name, schema1Prefix) {
			continue
		}
		if err := parent.remove(name); err != nil && !isAbsent(err) {
			return err
		}
	}
	return nil
}
