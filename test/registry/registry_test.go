package registry_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

var small = images.New(images.Layer(1000))

func status(t *testing.T, c *http.Client, url string) int {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func blobURL(base, repo string, img *images.Image) string {
	return base + "/v2/" + repo + "/blobs/" + img.Layers[0].Digest.String()
}

func TestPlainRegistry(t *testing.T) {
	reg := registry.Start(t)
	small.Push(t, reg.URL, "a/b:v1")
	for _, ref := range []string{"v1", small.Digest.String()} {
		req, err := http.NewRequest(http.MethodGet, reg.URL+"/v2/a/b/manifests/"+ref, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", images.OCIManifest)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: status %d", ref, resp.StatusCode)
		}
	}
}

func TestTwoRegistriesDoNotShareData(t *testing.T) {
	one, other := registry.Start(t), registry.Start(t)
	small.Push(t, one.URL, "a/b")
	if got := status(t, http.DefaultClient, blobURL(one.URL, "a/b", small)); got != 200 {
		t.Errorf("first registry: status %d", got)
	}
	if got := status(t, http.DefaultClient, blobURL(other.URL, "a/b", small)); got != 404 {
		t.Errorf("second registry: status %d", got)
	}
}

func TestBasicAuthRefusesStrangers(t *testing.T) {
	reg := registry.Start(t, registry.Basic("ann", "secret"))
	small.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	if got := status(t, http.DefaultClient, blobURL(reg.URL, "a/b", small)); got != 401 {
		t.Errorf("without a password: status %d", got)
	}
	wrong := strings.Replace(reg.URL, "://", "://ann:guess@", 1)
	if got := status(t, http.DefaultClient, blobURL(wrong, "a/b", small)); got != 401 {
		t.Errorf("with a wrong password: status %d", got)
	}
	right := strings.Replace(reg.URL, "://", "://ann:secret@", 1)
	if got := status(t, http.DefaultClient, blobURL(right, "a/b", small)); got != 200 {
		t.Errorf("with the right password: status %d", got)
	}
}

func TestTLSNeedsThePrivateCA(t *testing.T) {
	reg := registry.Start(t, registry.TLS())
	small.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	if _, err := http.Get(reg.URL + "/v2/"); err == nil {
		t.Error("a client without the CA was content")
	}
	localhost := strings.Replace(reg.URL, "127.0.0.1", "localhost", 1)
	if got := status(t, reg.Client(), blobURL(localhost, "a/b", small)); got != 200 {
		t.Errorf("by the name localhost: status %d", got)
	}
}

func TestClientCertsAreRequired(t *testing.T) {
	reg := registry.Start(t, registry.ClientCerts())
	small.Push(t, reg.URL, "a/b", images.Via(reg.Client()))

	dir := t.TempDir()
	if err := reg.PKI.WriteClient(dir); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: pool}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	if _, err := client.Get(reg.URL + "/v2/"); err == nil {
		t.Error("a client without certificate was let in")
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.cert"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{pair}
	client = &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	if got := status(t, client, blobURL(reg.URL, "a/b", small)); got != 200 {
		t.Errorf("with the certificate: status %d", got)
	}
}

// TestMain lets TestRegistryDiesWithItsTest start this program as a victim.
func TestMain(m *testing.M) {
	if dir := os.Getenv("REGISTRY_TEST_VICTIM"); dir != "" {
		reg, err := registry.Run(dir)
		if err != nil {
			panic(err)
		}
		println(reg.Addr)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(m.Run())
}

func TestRegistryDiesWithItsTest(t *testing.T) {
	if _, err := registry.Binary(); err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "REGISTRY_TEST_VICTIM="+t.TempDir())
	var out strings.Builder
	victim.Stderr = &out
	if err := victim.Run(); err == nil {
		t.Fatal("the victim was not killed")
	}
	// No request: answering one, it would die of its broken log.
	addr := strings.TrimSpace(out.String())
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
	t.Errorf("registry at %s survived its test process", addr)
}
