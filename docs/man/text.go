package main

// topic is what the pages of some commands have: those of these names, those with any of these flags, and that of the
// tool itself.
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

// statuses are the exit statuses; those with a command are of that one only.
var statuses = []struct{ command, status, text string }{
	{"", "0", "Done; for a check: all is well."},
	{"", "1", "Something failed. Standard error says what."},
	{"", "2", "The command line, or a file that it names, was refused. Nothing was touched."},
	{"pin check", "3", "A tag points to something else than is pinned, or is gone."},
	{"pin check", "4", "Something pinned is no longer served."},
	{"verify", "5", "Something is damaged; with --repair: and could not be repaired."},
	{"", "130, 143", "Interrupted by SIGINT or SIGTERM. Nothing is half done."},
}

var files = []topic{
	{name: "containers.lock.json", flags: pinFile, text: "The pin file, where --pins names no other. See containers.lock.json(5)."},
	{name: "/var/cache/osbuild/sources", flags: cache, text: "The cache of root where nothing else is said."},
	{name: "~/.cache/osbuild/sources", flags: cache, text: "The cache of other users where nothing else is said."},
	{name: "$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json", flags: registry, text: "Credentials for registries, as podman login and docker login write them. See containers-auth.json(5)."},
	{name: "/etc/containers/registries.conf, ~/.config/containers/registries.conf", flags: registry, text: "Mirrors, other names, and registries without encryption. See containers-registries.conf(5)."},
	{name: "/etc/containers/policy.json, ~/.config/containers/policy.json", flags: registry, text: "Which signatures an image must have. See containers-policy.json(5)."},
	{name: "/etc/containers/certs.d, /etc/docker/certs.d", flags: registry, text: "Certificates for registries, where --cert-dir names no other directory."},
	{name: "/etc/containers/registries.d", flags: registry, text: "Where signatures of images are. See containers-registries.d(5)."},
	{name: "/etc/containers/storage.conf", commands: []string{"pin", "pin add", "pin manifest", "fetch", "unpack"}, text: "Where the containers storage of this machine is. See containers-storage.conf(5)."},
	{name: "/usr/lib/osbuild/sources, /usr/lib/osbuild/stages", flags: libdir, text: "The modules that osbuild uses."},
	{name: "/usr/lib/osbuild/osbuild-containers", flags: libdir, text: "Those of osbuild that ours replace."},
	{name: "/usr/libexec/osbuild-containers", flags: libdir, text: "Ours, where they are installed."},
	{name: "/etc/osbuild-containers/no-modules", flags: libdir, text: "If this file exists, the rpm package never enables ours."},
	{name: "/usr/share/doc/osbuild-containers/docs", commands: []string{"fetch", "mirror", "unpack", "export"}, text: "The pages that are named docs/ and a name here."},
	{name: "/usr/lib/systemd/system/osbuild-containers-gc.timer, osbuild-containers-verify.timer", commands: []string{"gc", "verify"}, text: "Units of systemd that look after a cache. See docs/operations.md."},
}

var variables = []topic{
	{name: "OSBUILD_CONTAINERS_CACHE", flags: cache, text: "The cache, where neither --cache nor --store names it."},
	{name: "REGISTRY_AUTH_FILE", flags: registry, text: "The file with the credentials of registries, where --authfile names none."},
	{name: "DOCKER_CONFIG", flags: registry, text: "The directory of docker's config.json, where its credentials are."},
	{name: "CONTAINERS_REGISTRIES_CONF", flags: registry, text: "The file to read instead of registries.conf."},
	{name: "CONTAINERS_STORAGE_CONF", commands: []string{"pin", "pin add", "pin manifest", "fetch", "unpack"}, text: "The file to read instead of storage.conf."},
	{name: "HTTPS_PROXY, HTTP_PROXY, NO_PROXY", flags: registry, text: "The proxy through which registries are reached, and the hosts that are reached without it."},
	{name: "SSL_CERT_FILE, SSL_CERT_DIR", flags: registry, text: "Certificates of authorities, in the place of the system's."},
	{name: "TMPDIR", commands: []string{"import", "mirror", "unpack"}, text: "The directory for temporary files, in the place of /var/tmp."},
	{name: "SOURCE_DATE_EPOCH", commands: []string{"import", "unpack"}, text: "The time of what is made, in seconds since 1970."},
}

// related are the pages of others.
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
