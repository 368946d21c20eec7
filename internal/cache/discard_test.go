package cache

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestDiscard(t *testing.T) {
	c, p := newCache(t)
	good, flipped, short := content(1, 300), content(2, 300), content(3, 300)
	for _, b := range [][]byte{good, flipped, short} {
		must(t, put(p, b))
	}
	wrong := append([]byte(nil), flipped...)
	wrong[7] ^= 1
	writeTest(t, p.path(descriptor(flipped).Digest), wrong)
	must(t, os.Truncate(p.path(descriptor(short).Digest), 10))
	for _, b := range [][]byte{good, flipped, short, content(4, 1)} {
		must(t, p.Discard(context.Background(), descriptor(b).Digest))
	}
	if left, err := c.Pooled(); err != nil || len(left) != 1 || left[0].Digest != descriptor(good).Digest {
		t.Errorf("left: %v, %v", left, err)
	}
	wantNothingLeft(t, c)
	// What another process brings meanwhile is waited for, and stays.
	b := content(5, 30_000)
	j := job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 5, Size: len(b)}
	first := j.start(t)
	first.says("holding from 0")
	done := make(chan error, 1)
	go func() { done <- p.Discard(context.Background(), descriptor(b).Digest) }()
	first.goOn()
	first.says("done")
	must(t, <-done)
	if string(pooled(p, b)) != string(b) {
		t.Error("the blob that was brought was discarded")
	}
}
