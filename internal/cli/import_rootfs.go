package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
)

// rootfsFlags are the flags of import for a root file system.
type rootfsFlags struct {
	name    string
	config  string
	arch    string
	changes []string
}

// check refuses these flags without --rootfs.
func (f *rootfsFlags) check(given func(flag string) bool) error {
	for _, flag := range []string{"config", "arch", "change"} {
		if f.name == "" && given(flag) {
			return refused(fmt.Errorf("--%s is for a root file system: name the image with --rootfs", flag))
		}
	}
	if given("rootfs") && f.name == "" {
		return refused(errors.New("--rootfs is empty: name the image"))
	}
	return nil
}

// rootfs returns the root file system described by the flags and the argument.
func (f *rootfsFlags) rootfs(ctx context.Context, a *app, path string) (r bundle.Rootfs, err error) {
	name, err := parseTag(f.name)
	if err != nil {
		return r, fmt.Errorf("--rootfs: %w", err)
	}
	if r.Name = name.String(); path == "-" {
		r.Stdin = a.env.Stdin
	} else {
		r.Path = path
	}
	if r.Epoch, err = sourceDateEpoch(); err != nil {
		return r, err
	}
	arch := runtime.GOARCH
	if f.config != "" {
		raw, err := a.readFile(ctx, f.config)
		if err == nil {
			r.Config, err = parseConfig(raw)
		}
		if err != nil {
			return r, fmt.Errorf("--config %s: %w", f.config, err)
		}
		switch p := r.Config.Platform; {
		case p.OS != "" && p.OS != "linux":
			return r, fmt.Errorf("--config %s: os is %s, want linux", f.config, p.OS)
		case p.Architecture != "" && p.Variant != "":
			arch = p.Architecture + "/" + p.Variant
		case p.Architecture != "":
			arch = p.Architecture
		}
	}
	if f.arch != "" {
		arch = f.arch
	}
	p, err := pin.ParsePlatform(arch)
	if err != nil {
		return r, err
	}
	r.Config.Platform = v1.Platform{OS: "linux", Architecture: p.Architecture, Variant: p.Variant}
	for _, c := range f.changes {
		if err := change(&r.Config.Config, c); err != nil {
			return r, fmt.Errorf("--change %s: %w", strconv.Quote(c), err)
		}
	}
	return r, nil
}

// parseConfig parses an image's config, or only its part config.
func parseConfig(raw []byte) (config v1.Image, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return config, errors.New("not a JSON object")
	}
	var into any = &config.Config
	for _, name := range []string{"config", "rootfs", "architecture"} {
		if fields[name] != nil {
			into = &config
		}
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(into); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return config, fmt.Errorf("%s: %s is not what is expected there", wrong.Field, wrong.Value)
		}
		return config, err
	}
	return config, nil
}

// changes maps a Containerfile's instructions to functions that apply them to an image's config.
var changes = map[string]func(c *v1.ImageConfig, value string) error{
	"CMD":        func(c *v1.ImageConfig, v string) (err error) { c.Cmd, err = command(v); return err },
	"ENTRYPOINT": func(c *v1.ImageConfig, v string) (err error) { c.Entrypoint, err = command(v); return err },
	"ENV": func(c *v1.ImageConfig, v string) error {
		key, value, err := pair(v)
		c.Env = slices.DeleteFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
		c.Env = append(c.Env, key+"="+value)
		return err
	},
	"EXPOSE": func(c *v1.ImageConfig, v string) error {
		port, protocol, found := strings.Cut(v, "/")
		if !found {
			protocol = "tcp"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return errors.New("want a port, such as 80 or 53/udp")
		}
		set(&c.ExposedPorts, port+"/"+protocol)
		return nil
	},
	"LABEL": func(c *v1.ImageConfig, v string) error {
		key, value, err := pair(v)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[key] = value
		return err
	},
	"STOPSIGNAL": func(c *v1.ImageConfig, v string) error { c.StopSignal = v; return nil },
	"USER":       func(c *v1.ImageConfig, v string) error { c.User = v; return nil },
	"VOLUME": func(c *v1.ImageConfig, v string) error {
		volumes := []string{v}
		if strings.HasPrefix(v, "[") && json.Unmarshal([]byte(v), &volumes) != nil {
			return errors.New("want a path, or a JSON list of paths")
		}
		for _, v := range volumes {
			set(&c.Volumes, v)
		}
		return nil
	},
	"WORKDIR": func(c *v1.ImageConfig, v string) error {
		if c.WorkingDir = v; !path.IsAbs(v) {
			return errors.New("want an absolute path")
		}
		return nil
	},
}

// change applies an instruction, INSTRUCTION=VALUE or INSTRUCTION VALUE, to a config.
func change(c *v1.ImageConfig, text string) error {
	name, value := text, ""
	if n := strings.IndexAny(text, "= \t"); n >= 0 {
		name, value = text[:n], strings.TrimSpace(text[n+1:])
	}
	apply := changes[strings.ToUpper(name)]
	switch {
	case apply == nil:
		return hint.Add(fmt.Errorf("the instruction %q is not known", name),
			"use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR")
	case value == "":
		return fmt.Errorf("%s has no value", strings.ToUpper(name))
	}
	return apply(c, value)
}

// command parses a command in a Containerfile: a JSON list, or a line for a shell.
func command(v string) ([]string, error) {
	if !strings.HasPrefix(v, "[") {
		return []string{"/bin/sh", "-c", v}, nil
	}
	var words []string
	if json.Unmarshal([]byte(v), &words) != nil {
		return nil, errors.New(`want a line for a shell, or a JSON list such as ["/bin/sh"]`)
	}
	return words, nil
}

// pair parses KEY=VALUE or KEY VALUE. The value may be in double quotes.
func pair(v string) (key, value string, err error) {
	n := strings.IndexAny(v, "= ")
	if n <= 0 {
		return "", "", errors.New("want KEY=VALUE")
	}
	key, value = v[:n], strings.TrimSpace(v[n+1:])
	if plain, err := strconv.Unquote(value); err == nil && strings.HasPrefix(value, `"`) {
		value = plain
	}
	return key, value, nil
}

func set(all *map[string]struct{}, key string) {
	if *all == nil {
		*all = map[string]struct{}{}
	}
	(*all)[key] = struct{}{}
}
