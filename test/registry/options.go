package registry

import "time"

// Option changes how a registry or a proxy is started.
type Option func(*config)

type config struct {
	tls         bool
	clientCerts bool
	user        string
	password    string
	token       *tokenConfig
	validating  bool
}

type tokenConfig struct {
	ttl       time.Duration
	anonymous bool
}

// Validating accepts only manifests all of whose parts the registry has, which is the default of the
// distribution registry.
func Validating() Option { return func(c *config) { c.validating = true } }

// TLS serves https with a certificate for localhost, 127.0.0.1 and ::1 that is
// signed by a private CA made on the spot.
func TLS() Option { return func(c *config) { c.tls = true } }

// ClientCerts is TLS where the server turns away clients without a certificate
// of the same CA.
func ClientCerts() Option {
	return func(c *config) { c.tls, c.clientCerts = true, true }
}

// Basic asks every request for this user name and password.
func Basic(user, password string) Option {
	return func(c *config) { c.user, c.password = user, password }
}

// Token asks every request for a bearer token of a token server, which gives
// tokens to this user; see [TokenServer]. A token is good for ttl (to about a
// second); the server tells clients a minute, the least that clients believe in.
// An empty user name lets anybody have tokens to pull.
func Token(user, password string, ttl time.Duration) Option {
	return func(c *config) {
		c.user, c.password = user, password
		c.token = &tokenConfig{ttl: ttl, anonymous: user == ""}
	}
}

func newConfig(opts []Option) *config {
	c := new(config)
	for _, o := range opts {
		o(c)
	}
	return c
}
