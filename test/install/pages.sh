#!/bin/bash
# pages.sh DIR OSBUILD [ROOT]: runs the shell lines of README.md and docs/getting-started.md, word for word, as an ordinary
# user of a Debian of their own, in which the deb in DIR, podman, skopeo and OSBUILD, a checkout, are installed. It has no
# network: a registry on its loopback is a mirror of those that the pages name. ROOT is a tree that debootstrap has made,
# which is copied; without it, one is made. Run as root, after make; without the tools it is skipped.
set -euo pipefail
dir=$(realpath "$1") osbuild=${2:-}
cd "$(dirname "$0")/../.."
skip() { echo "skipped: $1"; exit 0; }
fail() { echo "FAIL: $1" >&2; exit 1; }
[ -f "$osbuild/osbuild/main_cli.py" ] || skip "osbuild is missing: OSBUILD is to be a checkout of it"
[ "$(id -u)" = 0 ] || skip "only root can change the root"
for tool in unshare pivot_root ip $([ -n "${3-}" ] || echo debootstrap); do
	command -v $tool >/dev/null || skip "$tool is missing"
done
[ -x build/tools/registry ] || fail "build/tools/registry is missing: run make build/tools/registry"
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
root=$top/root
if [ -n "${3-}" ]; then
	cp -a "$3" "$root"
else
	debootstrap --variant=minbase stable "$root" >"$top/log" 2>&1 || skip "debootstrap fails: $(tail -1 "$top/log")"
fi
chroot "$root" env -u TMPDIR DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin apt-get install -y --no-install-recommends \
	bubblewrap ca-certificates passt podman python3 python3-jsonschema runc skopeo slirp4netns sudo systemd uidmap >"$top/log" 2>&1 ||
	skip "apt-get fails: $(tail -1 "$top/log")"

# what osbuild's package installs
lib=$root/usr/lib/osbuild
for d in assemblers devices inputs mounts runners sources stages; do
	mkdir -p "$lib/$d"
	find "$osbuild/$d" -maxdepth 1 ! -type d ! -name 'test_*' -exec cp -a {} "$lib/$d" \;
done
mkdir -p "$lib/osbuild" "$root/usr/lib/python3/dist-packages"
cp -a "$osbuild/schemas" "$lib"
cp -a "$osbuild/osbuild" "$root/usr/lib/python3/dist-packages"
printf '#!/usr/bin/python3\nimport sys\nfrom osbuild.main_cli import osbuild_cli\nsys.exit(osbuild_cli())\n' >"$root/usr/bin/osbuild"
chmod 755 "$root/usr/bin/osbuild"

# the images that the pages name, and the mirror
install build/tools/registry "$root/usr/local/bin/registry"
image() { # image TREE FILE CONFIG
	printf '{"tree": "%s", "inputs": {"base": {"path": "%s"}}, "meta": {"source-epoch": 1}, "options": {"architecture": "%s", "filename": "%s", "config": %s}}' \
		"$top" "$1" "$(dpkg --print-architecture)" "$2" "$3" | build/libdir/stages/org.osbuild.oci-archive 2>"$top/log" || fail "$(cat "$top/log")"
	mv "$top/$2" "$root/srv/$2"
}
mkdir -p "$top/registry/bin" "$top/registry/etc" "$top/registry/var/lib/registry" "$root/srv"
cp build/tools/registry "$top/registry/bin"
config='{version: 0.1, storage: {filesystem: {rootdirectory: %s}}, http: {addr: "%s"}}\n'
# shellcheck disable=SC2059
printf "$config" /var/lib/registry :5000 >"$top/registry/etc/config.yml"
# shellcheck disable=SC2059
printf "$config" /srv/mirror 127.0.0.1:5001 >"$root/srv/config.yml"
image "$top/registry" registry.tar '{"Entrypoint": ["/bin/registry"], "Cmd": ["serve", "/etc/config.yml"]}'
mkdir "$top/fedora"
cp -a "$root/etc" "$top/fedora/etc"
image "$top/fedora" fedora.tar '{}'
for name in quay.io docker.io; do
	printf '[[registry]]\nlocation = "%s"\n[[registry.mirror]]\nlocation = "127.0.0.1:5001"\ninsecure = true\n' $name
done >"$root/etc/containers/registries.conf"
printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' >"$root/etc/containers/containers.conf"

cp "$dir"/osbuild-containers_*_"$(dpkg --print-architecture)".deb "$root/srv"
for page in README.md docs/getting-started.md; do
	awk '/^```sh$/ {p = 1; next} /^```$/ {p = 0} p' "$page" >"$root/srv/${page##*/}.sh"
	grep -q osbuild-containers "$root/srv/${page##*/}.sh" || fail "no shell lines in $page"
done
cat >"$root/srv/run" <<'EOF'
set -e
echo "127.0.0.1 localhost $(hostname)" >/etc/hosts
[ -d /home/ann ] || useradd -m -s /bin/bash ann
echo 'ann ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ann
apt-get install -y /srv/osbuild-containers_*.deb >/srv/log 2>&1 || { tail /srv/log; exit 1; }
registry serve /srv/config.yml >/srv/registry.log 2>&1 &
for try in $(seq 60); do
	(: </dev/tcp/127.0.0.1/5001) 2>/dev/null && break
	sleep 1
done
skopeo copy -q --dest-tls-verify=false oci-archive:/srv/registry.tar docker://127.0.0.1:5001/library/registry:2
skopeo copy -q --dest-tls-verify=false oci-archive:/srv/fedora.tar docker://127.0.0.1:5001/fedora/fedora-minimal:42
units=$(systemd-analyze verify --man=no /usr/lib/systemd/system/osbuild-containers-* 2>&1)
[ -z "$units" ] || { echo "FAIL: units: $units"; exit 1; }
echo "ok: units"
for page in README.md getting-started.md; do
	su - ann -c "mkdir $page && cd $page && bash -ex /srv/$page.sh" >/srv/log 2>&1 || { cat /srv/log; echo "FAIL: $page"; exit 1; }
	echo "ok: $page"
done
EOF
# podman without root makes a user namespace, which a process whose root was changed by chroot alone may not
# shellcheck disable=SC2016
unshare --mount --propagation private --net --pid --fork bash -ec '
	ip link set lo up
	mount --bind "$0" "$0"
	cd "$0"
	mkdir old
	mount -t proc proc proc
	mount --rbind /sys sys
	mount --rbind /dev dev
	for d in dev/shm run tmp; do mount -t tmpfs -o mode=1777 tmpfs $d; done
	pivot_root . old
	cd /
	umount -l old
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb HOME=/root bash /srv/run
' "$root"
