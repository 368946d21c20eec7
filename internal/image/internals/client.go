package internals

import (
	"crypto/tls"
	"net/http"
	"reflect"
	"sync"

	"github.com/containers/image/v5/types"
)

// Client is the client of one repository, within a source or destination of the library's docker transport.
//
// The library creates an http.Client at its first request, too late to replace its transport. Connect assumes that this
// happens in one function guarded by a sync.Once, and that it only sets the fields that Connect sets:
//
//	docker.dockerImageDestination.c   *dockerClient
//	docker.dockerClient.tlsClientConfig, client, scheme, challenges, supportsSignatures, detectPropertiesOnce
type Client struct{ v reflect.Value } // of dockerClient

// Challenge is a challenge in a WWW-Authenticate header. Scheme and the keys of Parameters are in lower case.
type Challenge struct {
	Scheme     string
	Parameters map[string]string
}

// Properties are the properties of a registry, learnt by the first request to it.
type Properties struct {
	Scheme     string // https or http
	Challenges []Challenge
	Signatures bool // supports the API extension for signatures
}

// ClientOf returns the client of a destination of the docker transport.
func ClientOf(dest types.ImageDestination) (*Client, error) {
	v := reflect.ValueOf(dest)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, &shapeError{"a destination is not a pointer"}
	}
	c, err := field(v.Elem(), "c", reflect.Pointer)
	if err != nil {
		return nil, err
	}
	if c.IsNil() {
		return nil, &shapeError{"a destination has no client"}
	}
	return &Client{c.Elem()}, nil
}

// TLS returns the library's TLS configuration for the registry: certificates, ciphers, and whether registries.conf makes
// it insecure. It may be changed until Connect.
func (c *Client) TLS() (*tls.Config, error) {
	f, err := field(c.v, "tlsClientConfig", reflect.Pointer)
	if err != nil {
		return nil, err
	}
	conf, ok := f.Interface().(*tls.Config)
	if !ok || conf == nil {
		return nil, &shapeError{"a client has no TLS configuration"}
	}
	return conf, nil
}

// Connect makes the library use client, with p as the properties of the registry. It must be called before the library's
// first request.
func (c *Client) Connect(client *http.Client, p Properties) error {
	once, err := field(c.v, "detectPropertiesOnce", reflect.Struct)
	if err != nil {
		return err
	}
	asked, ok := once.Addr().Interface().(*sync.Once)
	if !ok {
		return &shapeError{"what a client asks first is not guarded by a sync.Once"}
	}
	for name, to := range map[string]any{"client": client, "scheme": p.Scheme, "supportsSignatures": p.Signatures} {
		if err := set(c.v, name, reflect.ValueOf(to)); err != nil {
			return err
		}
	}
	if err := c.challenge(p.Challenges); err != nil {
		return err
	}
	asked.Do(func() {})
	return nil
}

// challenge sets the challenges that the library answers.
func (c *Client) challenge(challenges []Challenge) error {
	f, err := field(c.v, "challenges", reflect.Slice)
	if err != nil {
		return err
	}
	all := reflect.MakeSlice(f.Type(), len(challenges), len(challenges))
	for i, ch := range challenges {
		if err := set(all.Index(i), "Scheme", reflect.ValueOf(ch.Scheme)); err != nil {
			return err
		}
		if err := set(all.Index(i), "Parameters", reflect.ValueOf(ch.Parameters)); err != nil {
			return err
		}
	}
	f.Set(all)
	return nil
}
