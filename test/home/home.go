// Package home gives tests a home directory of their own.
//
// containers/image finds all its configuration there, so that the configuration of the machine is not
// used: no registries.conf, no policy.json, no credentials, no proxies.
package home

import (
	"os"
	"path/filepath"
	"testing"
)

// AcceptAnything is a policy.json that requires no signatures.
const AcceptAnything = `{"default": [{"type": "insecureAcceptAnything"}]}`

// configuration lists the environment variables that name other configuration.
var configuration = []string{
	"XDG_CONFIG_HOME", "XDG_DATA_HOME", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF",
	"CONTAINERS_STORAGE_CONF", "CONTAINERS_GRAPHROOT", "CONTAINERS_RUNROOT", "STORAGE_DRIVER", "STORAGE_OPTS",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// Run runs the tests of a package with a new home directory and the policy [AcceptAnything], and returns
// the exit status. It is for TestMain: the library reads HOME once.
func Run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "home-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := Setup(dir, AcceptAnything); err != nil {
		panic(err)
	}
	Isolate(dir)
	return m.Run()
}

// Setup writes configuration into a home directory, so that /etc/containers is not used; without a
// policy, that of the machine is.
func Setup(dir, policy string) error {
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

// Isolate makes dir the home directory of this process, and its only source of configuration.
func Isolate(dir string) {
	for _, name := range configuration {
		os.Unsetenv(name)
	}
	os.Setenv("HOME", dir)
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
}

// Environ returns the environment of a child process with the home directory dir.
func Environ(dir string) []string {
	return []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"), "TMPDIR=" + filepath.Join(dir, "tmp"), "PATH=" + os.Getenv("PATH")}
}
