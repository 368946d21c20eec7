package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"
	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/sirupsen/logrus"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// login holds the credentials for a registry, or the reason why there are none.
//
// They are not looked up by the library because that stops at the first unreadable file, and its errors name neither
// the file nor the entry.
type login struct {
	auth types.DockerAuthConfig
	from string      // where it was found; "" if it was not
	none string      // why there is none
	sent atomic.Bool // it was sent to the registry or its token server
}

// findLogin returns the credentials for a repository or registry, from the same files and helpers as the library.
func findLogin(sys *types.SystemContext, key string) (*login, error) {
	helpers, err := sysregistriesv2.CredentialHelpers(sys)
	if err != nil {
		return nil, err
	}
	var none []string
	var errs []error
	for _, helper := range helpers {
		find := loginOf
		if helper == sysregistriesv2.AuthenticationFileHelper {
			find = loginInFiles
		}
		l, err := find(sys, key, helper)
		switch {
		case err != nil:
			errs = append(errs, err)
		case l.from != "":
			return l, nil
		default:
			none = append(none, l.none)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &login{none: strings.Join(none, "; ")}, nil
}

// withLogin returns a configuration with the credentials for one repository: the given ones, or those found.
func withLogin(sys *types.SystemContext, repository string, given *request.Login) (*types.SystemContext, *login, error) {
	var l *login
	if given != nil {
		l = &login{auth: types.DockerAuthConfig{Username: given.User, Password: given.Password}, from: givenLogin}
	} else {
		var err error
		if l, err = findLogin(sys, repository); err != nil {
			return nil, nil, err
		}
	}
	if l.from != "" {
		slog.Debug("credentials", "for", repository, "from", l.from)
	} else {
		slog.Debug("no credentials", "for", repository, "because", l.none)
	}
	own := *sys
	own.DockerAuthConfig = &l.auth
	return &own, l, nil
}

// givenLogin is where a login is from that was not found but given.
const givenLogin = "--creds"

// loginOf asks a credential helper named in registries.conf.
func loginOf(_ *types.SystemContext, key, helper string) (*login, error) {
	host, _, _ := strings.Cut(key, "/")
	program := "docker-credential-" + helper
	got, err := client.Get(client.NewShellProgramFunc(program), host)
	switch {
	case err != nil && credentials.IsErrCredentialsNotFoundMessage(err.Error()):
		return &login{none: program + " has none for " + host}, nil
	case err != nil:
		return nil, &loginError{"credential-helpers in registries.conf", err}
	case got.Username == "" && got.Secret == "": // like the library
		return &login{none: program + " has none for " + host}, nil
	case got.Username == "<token>":
		return &login{auth: types.DockerAuthConfig{IdentityToken: got.Secret}, from: program}, nil
	}
	return &login{auth: types.DockerAuthConfig{Username: got.Username, Password: got.Secret}, from: program}, nil
}

// loginInFiles searches the credentials files. An unreadable file is skipped if it is a default one, and an error if it
// was named.
func loginInFiles(sys *types.SystemContext, key, _ string) (*login, error) {
	var without, empty []string
	for _, f := range authFiles(sys) {
		auth, err := f.find(key)
		var unread *fs.PathError
		entry, about := f.entry(key)
		switch {
		case errors.As(err, &unread) && unread.Path == f.path && sys.AuthFilePath == "":
			passOver(f.path, unread)
		case err != nil:
			return nil, &loginError{strings.TrimSuffix(f.path+": "+entry, ": "), err}
		case auth != (types.DockerAuthConfig{}):
			return &login{auth: auth, from: entry + " in " + f.path}, nil
		case about != "":
			empty = append(empty, about)
		case strings.HasPrefix(entry, "auths"):
			empty = append(empty, fmt.Sprintf(`%s in %s has no "auth"`, entry, f.path))
		case entry != "":
			empty = append(empty, entry+" in "+f.path+" has none")
		case exists(f.path):
			without = append(without, f.path)
		case sys.AuthFilePath != "":
			empty = append(empty, f.path+" does not exist")
		}
	}
	if len(without) > 0 {
		empty = append(empty, fmt.Sprintf("%s has none for %s", strings.Join(without, " and "), key))
	}
	if len(empty) == 0 {
		empty = []string{"none are configured"}
	}
	return &login{none: strings.Join(empty, "; ")}, nil
}

// authFile is a credentials file.
type authFile struct {
	path   string
	legacy bool // in the format of .dockercfg
}

// authFiles returns the credentials files in the library's order.
func authFiles(sys *types.SystemContext) []authFile {
	if sys.AuthFilePath != "" {
		return []authFile{{path: sys.AuthFilePath}}
	}
	runtime, conf, home := os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("XDG_CONFIG_HOME"), homedir.Get()
	if runtime == "" {
		runtime = fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid())
	} else {
		runtime = filepath.Join(runtime, "containers/auth.json")
	}
	if conf == "" {
		conf = filepath.Join(home, ".config")
	}
	return []authFile{
		{path: runtime},
		{path: filepath.Join(conf, "containers/auth.json")},
		{path: filepath.Join(home, ".docker/config.json")},
		{path: filepath.Join(home, ".dockercfg"), legacy: true},
	}
}

// find makes the library search only this file.
func (f authFile) find(key string) (types.DockerAuthConfig, error) {
	sys := &types.SystemContext{SystemRegistriesConfPath: os.DevNull, SystemRegistriesConfDirPath: os.DevNull}
	if f.legacy {
		sys.LegacyFormatAuthFilePath = f.path
	} else {
		sys.AuthFilePath = f.path
	}
	return config.GetCredentials(sys, key)
}

// entry returns the name of the entry for key, or "", and a remark about credentials in the file that look right but
// are not used.
func (f authFile) entry(key string) (name, about string) {
	raw, err := os.ReadFile(f.path)
	if err != nil {
		return "", ""
	}
	var file struct {
		Auths       map[string]json.RawMessage `json:"auths"`
		CredHelpers map[string]string          `json:"credHelpers"`
		CredsStore  string                     `json:"credsStore"`
	}
	into := any(&file)
	if f.legacy {
		into = &file.Auths
	}
	if json.Unmarshal(raw, into) != nil {
		return "", ""
	}
	host, _, _ := strings.Cut(key, "/")
	if file.CredsStore != "" {
		about = fmt.Sprintf("credsStore %q in %s is not used: put {%q: %[1]q} into credHelpers", file.CredsStore, f.path, host)
	}
	if _, ok := file.CredHelpers[host]; ok {
		return fmt.Sprintf("credHelpers %q", host), about
	}
	for k := key; !f.legacy; {
		if _, ok := file.Auths[k]; ok {
			return fmt.Sprintf("auths %q", k), about
		}
		slash := strings.LastIndex(k, "/")
		if slash < 0 {
			break
		}
		k = k[:slash]
	}
	var same []string
	for k := range file.Auths {
		if f.host(k) == f.host(host) {
			same = append(same, k)
		}
	}
	if len(same) == 0 {
		return "", about
	}
	return fmt.Sprintf("auths %q", slices.Min(same)), about
}

// host returns the registry in a key of auths, which may be a URL.
func (f authFile) host(key string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(key, "http://"), "https://")
	if f.legacy || host != key {
		host, _, _ = strings.Cut(host, "/")
	}
	if host == "docker.io" || host == dockerHub {
		return "index.docker.io"
	}
	return host
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// passedOver is the set of files logged by passOver.
var passedOver sync.Map

// passOver logs, once per file, that a default file is skipped because it cannot be read.
func passOver(place string, err error) {
	if _, known := passedOver.LoadOrStore(place, true); !known {
		logrus.Warnf("%v; continuing without it", err)
	}
}

// loginError is an error in the configuration of credentials.
type loginError struct {
	where string
	err   error
}

func (e *loginError) Error() string {
	return "read credentials: " + e.where + ": " + internals.WithoutFile(e.err.Error())
}
func (e *loginError) Unwrap() error { return e.err }

// deniedError is a refusal (401 or 403) together with the credentials that were sent.
type deniedError struct {
	err   error
	login string
	given bool // the credentials were given, rather than found
}

func (e *deniedError) Error() string { return e.err.Error() + " (" + e.login + ")" }
func (e *deniedError) Unwrap() error { return e.err }

// denied adds to a refusal which credentials were sent. l is nil if unknown.
func (l *login) denied(err error) error {
	var other *elsewhereError
	var known *deniedError
	if err == nil || l == nil || classOf(statusOf(err)) != retry.Denied || errors.As(err, &other) || errors.As(err, &known) {
		return err
	}
	err = reword(err) // before wrapping: reword does not unwrap deniedError
	switch {
	case l.sent.Load():
		return &deniedError{err, "credentials were sent: " + l.from, l.from == givenLogin}
	case l.from != "":
		return &deniedError{err, "the credentials of " + l.from + " were not sent", l.from == givenLogin}
	}
	return &deniedError{err, "no credentials were sent: " + l.none, false}
}
