package image

import (
	"errors"

	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// RetryPolicy returns how requests of a transport are retried, within the bounds of the options.
func RetryPolicy(transport string, o request.Options) retry.Policy {
	return retry.Policy{
		Retries: o.Retries, Timeout: o.Timeout, Stall: o.StallTimeout, Header: o.HeaderTimeout,
		Classify:  Classify,
		Reconnect: func(err error) bool { return !errors.As(err, new(*registry.StatusError)) }, // a StatusError means that the server has answered
		Mark:      TransportOf(transport).Mark,
	}
}
