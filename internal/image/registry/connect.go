package registry

import (
	"context"
	"net/http"
	"net/url"

	"github.com/containers/image/v5/pkg/tlsclientconfig"
	"github.com/containers/image/v5/types"
	"github.com/docker/distribution/registry/client/auth/challenge"

	"osbuild-containers/internal/image/internals"
)

// idleConnections is how many connections to a registry are kept open for reuse; the default of net/http is two.
const idleConnections = 64

// userAgent is the User-Agent header sent to registries.
const userAgent = "osbuild-containers"

// connect pings the client's registry as the library would, and makes the library send all its requests through transport.
// insecure is from registries.conf; sys takes precedence. challenges are those of the repository, used if the registry
// itself has none.
func connect(ctx context.Context, sys *types.SystemContext, c *internals.Client, login *login, host string, insecure bool, challenges []internals.Challenge) error {
	conf, err := c.TLS()
	if err != nil {
		return err
	}
	if sys.DockerInsecureSkipTLSVerify != types.OptionalBoolUndefined {
		insecure = sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue
	}
	conf.InsecureSkipVerify = insecure
	tr := tlsclientconfig.NewTransport()
	tr.TLSClientConfig, tr.MaxIdleConnsPerHost = conf, idleConnections
	t := &transport{RoundTripper: tr, login: login}
	client := &http.Client{Transport: t, CheckRedirect: checkRedirect}
	p, err := t.properties(ctx, client, host, insecure)
	if err != nil {
		tr.CloseIdleConnections()
		return err
	}
	if len(p.Challenges) == 0 {
		p.Challenges = challenges
	}
	if err := t.setChallenges(p.Challenges, insecure); err != nil {
		tr.CloseIdleConnections()
		return err
	}
	return c.Connect(client, p)
}

// dockerHub is the host that serves docker.io.
const dockerHub = "registry-1.docker.io"

// properties determines the scheme and the challenges of a registry.
func (t *transport) properties(ctx context.Context, client *http.Client, host string, insecure bool) (p internals.Properties, err error) {
	if host == "docker.io" {
		host = dockerHub
	}
	p, err = t.ping(ctx, client, "https", host)
	if err != nil && insecure && ctx.Err() == nil && statusOf(err) == 0 {
		p, err = t.ping(ctx, client, "http", host)
	}
	return p, err
}

func (t *transport) ping(ctx context.Context, client *http.Client, scheme, host string) (p internals.Properties, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+"/v2/", nil)
	if err != nil {
		return p, err
	}
	t.registry = &url.URL{Scheme: scheme, Host: host}
	req.Header.Set("Docker-Distribution-API-Version", "registry/2.0")
	req.Header.Set("User-Agent", userAgent)
	resp, err := client.Do(req)
	if err != nil {
		return p, err
	}
	body := drop(resp)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return p, &StatusError{Code: resp.StatusCode, Message: errorMessage(body)}
	}
	return internals.Properties{
		Scheme: scheme, Challenges: challengesOf(resp), Signatures: resp.Header.Get("X-Registry-Supports-Signatures") == "1",
	}, nil
}

// challengesOf returns the challenges in a response's header, whatever its status.
func challengesOf(resp *http.Response) []internals.Challenge {
	var all []internals.Challenge
	for _, c := range challenge.ResponseChallenges(&http.Response{StatusCode: http.StatusUnauthorized, Header: resp.Header}) {
		all = append(all, internals.Challenge{Scheme: c.Scheme, Parameters: c.Parameters})
	}
	return all
}

// challengeError is a challenge for a repository of a registry that had none when it was pinged.
type challengeError struct {
	StatusError
	challenges []internals.Challenge
}

func (e *challengeError) Unwrap() error { return &e.StatusError }
