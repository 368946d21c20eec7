package registry

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

const (
	tokenService = "test-registry"
	tokenIssuer  = "test-issuer"
	tokenKeyID   = "test-key"
	// distribution accepts a token for so long after its expiry.
	tokenLeeway = 60 * time.Second
)

// TokenServer gives bearer tokens, by GET with basic authentication and by POST
// with a password or a refresh token (docker calls it an identity token). Its
// Faults record and break its answers as a registry's.
type TokenServer struct {
	*Faults

	// RefreshToken is accepted in place of the password.
	RefreshToken string

	user, password string
	config         tokenConfig
	key            ed25519.PrivateKey
	issued         atomic.Int64
}

func newTokenServer(c *config) (*TokenServer, []byte, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	s := &TokenServer{
		RefreshToken: "refresh-" + rand.Text(),
		user:         c.user,
		password:     c.password,
		config:       *c.token,
		key:          key,
	}
	s.Faults = newFaults(http.HandlerFunc(s.answer), nil)
	jwks, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": tokenKeyID,
		"x": base64.RawURLEncoding.EncodeToString(public),
	}}})
	return s, jwks, err
}

func (r *Registry) setupToken() (map[string]any, error) {
	server, jwks, err := newTokenServer(r.config)
	if err != nil {
		return nil, fmt.Errorf("start token server: %w", err)
	}
	r.Token = server
	err = writeFiles(r.Root, map[string][]byte{"jwks.json": jwks})
	return map[string]any{"token": map[string]any{
		"realm": server.URL + "/token", "service": tokenService, "issuer": tokenIssuer,
		"jwks": filepath.Join(r.Root, "jwks.json"), "signingalgorithms": []string{"EdDSA"},
	}}, err
}

// Issued counts the tokens given to clients.
func (s *TokenServer) Issued() int { return int(s.issued.Load()) }

func (s *TokenServer) answer(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.Path != "/token" || r.Form.Get("service") != tokenService {
		http.Error(w, "bad token request", http.StatusBadRequest)
		return
	}
	if !s.known(r) {
		if _, _, tried := r.BasicAuth(); tried || r.Method == http.MethodPost || !s.config.anonymous {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"details":"incorrect username or password"}`)
			return
		}
	}
	token := s.mint(s.user, s.grant(r.Form["scope"]))
	reply := map[string]any{
		"token": token, "access_token": token,
		"expires_in": 60, "issued_at": time.Now().UTC().Format(time.RFC3339),
	}
	if r.Form.Get("offline_token") == "true" || r.Form.Get("access_type") == "offline" {
		reply["refresh_token"] = s.RefreshToken
	}
	s.issued.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // the client may be gone
}

// known tells whether the request shows the right password or refresh token.
func (s *TokenServer) known(r *http.Request) bool {
	if s.user == "" {
		return false
	}
	if r.Method != http.MethodPost {
		user, password, ok := r.BasicAuth()
		return ok && user == s.user && password == s.password
	}
	switch r.PostForm.Get("grant_type") {
	case "password":
		return r.PostForm.Get("username") == s.user && r.PostForm.Get("password") == s.password
	case "refresh_token":
		return r.PostForm.Get("refresh_token") == s.RefreshToken
	}
	return false
}

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// grant gives what is asked for; pulling only, where anybody may ask.
func (s *TokenServer) grant(scopes []string) []access {
	var out []access
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		at := strings.LastIndex(rest, ":")
		if at < 0 {
			continue
		}
		actions := strings.Split(rest[at+1:], ",")
		if s.config.anonymous {
			actions = []string{"pull"}
		}
		out = append(out, access{Type: kind, Name: rest[:at], Actions: actions})
	}
	return out
}

var repository = regexp.MustCompile(`^/v2/(.+)/(blobs|manifests|tags|referrers)/`)

// everything is all rights for the repository of a request.
func everything(r *http.Request) []access {
	m := repository.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return nil
	}
	return []access{{Type: "repository", Name: m[1], Actions: []string{"pull", "push", "delete"}}}
}

// mint makes a signed token (a JWT).
func (s *TokenServer) mint(subject string, rights []access) string {
	now := time.Now()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err) // plain strings and numbers
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	signed := part(map[string]string{"typ": "JWT", "alg": "EdDSA", "kid": tokenKeyID}) + "." + part(map[string]any{
		"iss": tokenIssuer, "aud": tokenService, "sub": subject, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-2 * tokenLeeway).Unix(),
		"exp":    now.Add(s.config.ttl - tokenLeeway).Unix(),
		"access": rights,
	})
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(signed)))
}
