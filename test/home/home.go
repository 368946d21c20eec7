// Package home gives tests a home directory of their own.
//
// It promises that the containers library finds in the directory all the configuration that it looks
// for, so that nothing of the machine's counts: no registries.conf, no policy.json, no
// credentials, no proxies.
package home

import (
	"os"
	"path/filepath"
	"testing"
)

// AcceptAnything is a policy.json that asks for no signatures.
const AcceptAnything = `{"default": [{"type": "insecureAcceptAnything"}]}`

// configuration are the variables by which the machine's configuration could get in.
var configuration = []string{
	"XDG_CONFIG_HOME", "XDG_DATA_HOME", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF",
	"CONTAINERS_STORAGE_CONF", "CONTAINERS_GRAPHROOT", "CONTAINERS_RUNROOT", "STORAGE_DRIVER", "STORAGE_OPTS",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// Run runs the tests of a package in a home directory of its own, which a policy makes accept
// anything, and returns the status to exit with. It is for TestMain: the library reads HOME once.
func Run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "home-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := Furnish(dir, AcceptAnything); err != nil {
		panic(err)
	}
	Isolate(dir)
	return m.Run()
}

// Furnish makes a home directory whose presence keeps /etc/containers out. Without a policy, that of
// the machine would count.
func Furnish(dir, policy string) error {
	for _, d := range []string{".config/containers/registries.d", ".docker", "run", "bin", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	config := filepath.Join(dir, ".config/containers")
	if err := os.WriteFile(filepath.Join(config, "registries.conf"), nil, 0o644); err != nil || policy == "" {
		return err
	}
	return os.WriteFile(filepath.Join(config, "policy.json"), []byte(policy), 0o644)
}

// Isolate makes a home directory the only place for this process' configuration.
func Isolate(dir string) {
	for _, name := range configuration {
		os.Unsetenv(name)
	}
	os.Setenv("HOME", dir)
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
}

// Environ is the environment of a process with a home directory, in which nothing else counts.
func Environ(dir string) []string {
	return []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"), "TMPDIR=" + filepath.Join(dir, "tmp"), "PATH=" + os.Getenv("PATH")}
}
