package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/calls"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
)

// jobVariable holds the job of a process started by a test, "import" or "export", and two paths.
const jobVariable = "BUNDLE_TEST_JOB"

func TestMain(m *testing.M) {
	calls.Main()
	if text := os.Getenv(jobVariable); text != "" {
		if err := runJob(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(home.Run(m))
}

func runJob(text string) error {
	var job [3]string
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	ctx := context.Background()
	if job[0] == "export" {
		return exportAll(ctx, job[1], Output{Path: job[2], Format: FormatOCI})
	}
	done, err := Import(ctx, cache.Open(job[1]), job[2], ImportOptions{}, nil)
	if err != nil {
		return err
	}
	for _, r := range done.Results {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// exportAll exports all images of a cache.
func exportAll(ctx context.Context, dir string, o Output) error {
	c := cache.Open(dir)
	ids, err := c.Images()
	if err != nil {
		return err
	}
	var all []Wanted
	for _, id := range ids {
		all = append(all, Wanted{ID: id})
	}
	b, err := New(c, all, nil)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Write(ctx, o, nil)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file is an entry of a tar file.
type file struct {
	name string
	data []byte
}

// write makes a tar file of the entries.
func write(t testing.TB, files ...file) (path string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		must(t, w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.data))}))
		_, err := w.Write(f.data)
		must(t, err)
	}
	must(t, w.Close())
	path = filepath.Join(t.TempDir(), "images.tar")
	must(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

func toJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// layoutOf returns the files of an OCI layout with that index and blobs.
func layoutOf(entries []map[string]any, blobs ...[]byte) []file {
	all := []file{
		{"oci-layout", []byte(`{"imageLayoutVersion": "1.0.0"}`)},
		{"index.json", toJSON(map[string]any{"schemaVersion": 2, "manifests": entries})},
	}
	for _, b := range blobs {
		all = append(all, file{"blobs/sha256/" + digest.FromBytes(b).Encoded(), b})
	}
	return all
}

// blobsOf returns all blobs of an image, including its manifest.
func blobsOf(img *images.Image) [][]byte {
	all := [][]byte{img.Raw, img.Config}
	for _, l := range img.Layers {
		all = append(all, l.Blob)
	}
	return all
}

// bring imports the file or directory at path.
func bring(t testing.TB, dir, path string) *Imported {
	t.Helper()
	done, err := Import(t.Context(), cache.Open(dir), path, ImportOptions{}, nil)
	must(t, err)
	return done
}

// only returns the result of the only image.
func only(t testing.TB, done *Imported) Result {
	t.Helper()
	if len(done.Results) != 1 {
		t.Fatalf("%d results: %+v", len(done.Results), done.Results)
	}
	return done.Results[0]
}

// wantImage reads and verifies an image of a cache, and returns its manifest.
func wantImage(t testing.TB, dir string, id digest.Digest) []byte {
	t.Helper()
	pub, err := cache.Open(dir).OpenImage(id)
	must(t, err)
	defer pub.Close()
	raw, err := pub.Manifest()
	must(t, err)
	m, err := manifest.Parse(raw)
	must(t, err)
	if m.Config.Digest != id || !pub.Has(m.Blobs()) {
		t.Fatalf("image %s is not complete", id)
	}
	for _, d := range m.Blobs() {
		data, err := os.ReadFile(pub.BlobPath(d.Digest))
		must(t, err)
		if got := digest.FromBytes(data); got != d.Digest {
			t.Errorf("blob %s is %s", d.Digest, got)
		}
	}
	return raw
}

// entry returns the index entry of a document, with a name unless that is empty.
func entry(raw []byte, mediaType, name string) map[string]any {
	m := map[string]any{"mediaType": mediaType, "digest": digest.FromBytes(raw), "size": len(raw)}
	if name != "" {
		m["annotations"] = map[string]string{v1.AnnotationRefName: name}
	}
	return m
}
