package cache

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestUseIsNotedOnceInAnHour(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	pub, err := c.OpenImage(img.id)
	must(t, err)
	defer pub.Close()
	path := filepath.Join(pub.Path(), versionFile)
	at := time.Now().Add(-useGrain / 2).Truncate(time.Second)
	must(t, os.Chtimes(path, at, at))
	must(t, os.Chtimes(pub.Path(), at, at))
	pub.Use()
	if got := pub.Used(); !got.Equal(at) {
		t.Errorf("used at %s, want %s", got, at)
	}
	at = at.Add(-useGrain)
	must(t, os.Chtimes(path, at, at))
	must(t, pub.CheckVersion()) // which does not count as use
	if got := pub.Used(); !got.Equal(at.Add(useGrain)) {
		t.Errorf("used at %s, want when it was published", got)
	}
	again, err := c.OpenImage(img.id)
	must(t, err)
	defer again.Close()
	again.Use()
	if got := time.Since(pub.Used()); got > time.Minute {
		t.Errorf("used %s ago", got)
	}
	fi, err := os.Stat(path)
	must(t, err)
	if !fi.ModTime().Equal(at) {
		t.Error("the file counts as changed")
	}
}
