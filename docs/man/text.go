package main

// A topic is an entry in the pages of the commands with these names or any of these flags, and in the page of the tool.
type topic struct {
	name, text string
	commands   []string
	flags      []string
}

var (
	cache    = []string{"cache"}
	registry = []string{"authfile"}
	pinFile  = []string{"pins"}
	libdir   = []string{"libdir"}
)

// storage are the commands that read images in a containers storage.
var storage = []string{"export", "fetch", "pin", "pin add", "pin check", "pin manifest", "pin update", "unpack", "verify"}

// statuses are the exit statuses. Those with a command apply to that command only.
var statuses = []struct{ command, status, text string }{
	{"", "0", "Success; for a check: nothing is wrong."},
	{"", "1", "Failure. The error is on standard error."},
	{"", "2", "The command line, or a file that it names, is invalid. Nothing was changed."},
	{"pin check", "3", "A tag no longer points to the pinned digest, or no longer exists."},
	{"pin check", "4", "A pinned image is no longer served."},
	{"verify", "5", "Damage was found; with --repair, damage that could not be repaired."},
	{"", "130, 143", "Interrupted by SIGINT or SIGTERM. Nothing incomplete was published."},
}

var files = []topic{
	{name: "containers.lock.json", flags: pinFile, text: "The default pin file. See containers.lock.json(5)."},
	{name: "/var/cache/osbuild/sources", flags: cache, text: "The default cache of root."},
	{name: "~/.cache/osbuild/sources", flags: cache, text: "The default cache of other users."},
	{name: "$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json", flags: registry, text: "Credentials for registries, as written by podman login and docker login. See containers-auth.json(5)."},
	{name: "/etc/containers/registries.conf, ~/.config/containers/registries.conf", flags: registry, text: "Mirrors, aliases and insecure registries. See containers-registries.conf(5)."},
	{name: "/etc/containers/policy.json, ~/.config/containers/policy.json", flags: registry, text: "Which signatures images must have. See containers-policy.json(5)."},
	{name: "/etc/containers/certs.d, /etc/docker/certs.d", flags: registry, text: "Certificates for registries, unless --cert-dir is given."},
	{name: "/etc/containers/registries.d", flags: registry, text: "Where the signatures of images are stored. See containers-registries.d(5)."},
	{name: "/etc/containers/storage.conf", commands: storage, text: "The location of the containers storage of this machine. See containers-storage.conf(5)."},
	{name: "/usr/lib/osbuild/sources, /usr/lib/osbuild/stages", flags: libdir, text: "The modules that osbuild uses."},
	{name: "/usr/lib/osbuild/osbuild-containers", flags: libdir, text: "osbuild's own modules while they are replaced."},
	{name: "/usr/libexec/osbuild-containers", flags: libdir, text: "The installed modules of osbuild-containers."},
	{name: "/etc/osbuild-containers/no-modules", flags: libdir, text: "If this file exists, the rpm package does not enable the modules."},
	{name: "/usr/share/doc/osbuild-containers/docs", commands: []string{"export", "fetch", "gc", "mirror", "unpack", "verify"}, text: "The pages that this manual refers to as docs/NAME.md."},
	{name: "/usr/lib/systemd/system/osbuild-containers-gc.timer, osbuild-containers-verify.timer", commands: []string{"gc", "verify"}, text: "systemd units that run gc and verify regularly. See docs/operations.md."},
}

var variables = []topic{
	{name: "OSBUILD_CONTAINERS_CACHE", flags: cache, text: "The cache, if neither --cache nor --store is given."},
	{name: "REGISTRY_AUTH_FILE", flags: registry, text: "The file with credentials for registries, if --authfile is not given."},
	{name: "DOCKER_CONFIG", flags: registry, text: "The directory of docker's config.json, which has credentials."},
	{name: "CONTAINERS_REGISTRIES_CONF", flags: registry, text: "The file to read instead of registries.conf."},
	{name: "CONTAINERS_STORAGE_CONF", commands: storage, text: "The file to read instead of storage.conf."},
	{name: "HTTPS_PROXY, HTTP_PROXY, NO_PROXY", flags: registry, text: "Proxies for connections to registries, and the hosts to connect to directly."},
	{name: "SSL_CERT_FILE, SSL_CERT_DIR", flags: registry, text: "CA certificates to use instead of the system's."},
	{name: "TMPDIR", commands: []string{"import", "mirror", "unpack"}, text: "The directory for temporary files instead of /var/tmp."},
	{name: "SOURCE_DATE_EPOCH", commands: []string{"import", "unpack"}, text: "The timestamp of created images and files, in seconds since 1970."},
}

// related are other manual pages to see.
var related = []topic{
	{name: reference("containers.lock.json", "5"), flags: pinFile},
	{name: reference("containers-auth.json", "5"), flags: registry},
	{name: reference("containers-registries.conf", "5"), flags: registry},
	{name: reference("containers-policy.json", "5"), flags: registry},
	{name: reference("org.osbuild.skopeo", "8"), commands: []string{"fetch"}, flags: libdir},
	{name: reference("org.osbuild.skopeo-index", "8"), commands: []string{"fetch"}, flags: libdir},
	{name: reference("org.osbuild.containers-storage", "8"), flags: libdir},
	{name: reference("org.osbuild.container-deploy", "8"), commands: []string{"unpack"}, flags: libdir},
	{name: reference("org.osbuild.oci-archive", "8"), flags: libdir},
	{name: reference("osbuild", "1"), flags: []string{"libdir", "cache"}, commands: []string{"pin manifest"}},
	{name: reference("skopeo", "1")},
}
