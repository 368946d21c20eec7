#!/bin/bash
# packages.sh DIR [ROOT]: installs the deb and the rpm in DIR into a Debian of their own, with an osbuild that has files
# of the same names; updates osbuild, removes each, and looks whose modules are there. ROOT is a tree that debootstrap
# has made, which is copied; without it, one is made. Run as root; without the tools it is skipped.
set -euo pipefail
dir=$(realpath "$1")
name=osbuild-containers
[ "$(id -u)" = 0 ] || { echo "skipped: only root can change the root"; exit 0; }
for tool in dpkg-deb rpm rpmbuild $([ -n "${2-}" ] || echo debootstrap); do
	command -v $tool >/dev/null || { echo "skipped: $tool is missing"; exit 0; }
done
top=$(mktemp -d)
trap 'umount "$top/rpm/proc" 2>/dev/null || true; rm -rf "$top"' EXIT
arch=$(dpkg --print-architecture)
[ -n "${2-}" ] || debootstrap --variant=minbase stable "$top/base" >"$top/log" 2>&1 ||
	{ echo "skipped: debootstrap fails: $(tail -1 "$top/log")"; exit 0; }
base=${2-$top/base}

modules="sources/org.osbuild.skopeo sources/org.osbuild.skopeo-index sources/org.osbuild.containers-storage
	stages/org.osbuild.skopeo stages/org.osbuild.container-deploy stages/org.osbuild.oci-archive"
osbuild() { # osbuild VERSION: a tree with what matters of osbuild
	rm -rf "$top/osbuild"
	for m in $modules sources/org.osbuild.curl runners/org.osbuild.linux; do
		install -D -m 755 /dev/stdin "$top/osbuild/usr/lib/osbuild/$m" <<<"osbuild $1 $m"
		echo "{} $1 $m" >"$top/osbuild/usr/lib/osbuild/$m.meta.json"
	done
}
fail() { echo "FAIL: $1: $2" >&2; exit 1; }
theirs() { # theirs VERSION STEP
	for m in $modules; do
		grep -qxF "osbuild $1 $m" "$root/usr/lib/osbuild/$m" || fail "$2" "$m is not that of osbuild $1"
		grep -qxF "{} $1 $m" "$root/usr/lib/osbuild/$m.meta.json" || fail "$2" "$m.meta.json is not that of osbuild $1"
	done
	[ ! -e "$root/usr/lib/osbuild/$name" ] || fail "$2" "$name is left in the libdir"
	[ ! -e "$root/usr/bin/$name" ] || fail "$2" "$name is left"
	echo "ok: $2"
}
ours() { # ours STEP KEPT
	local status
	status=$(chroot "$root" $name modules status)
	[ "$(grep -c ' ours ' <<<"$status")" = 6 ] || fail "$1" "$status"
	[ "$(grep -c "osbuild's is kept" <<<"$status")" = "$2" ] || fail "$1" "$status"
	for m in $modules; do
		chroot "$root" "/usr/lib/osbuild/$m" --version | grep -q "^${m##*/} " || fail "$1" "$m does not run"
	done
	[ "$(find "$root/usr/lib/osbuild/sources" "$root/usr/lib/osbuild/stages" ! -name 'org.osbuild.*' -type f)" = "" ] || fail "$1" "other files"
	echo "ok: $1"
}

# deb
root=$top/deb
cp -a "$base" "$root"
for v in 1 2; do
	osbuild $v
	mkdir "$top/osbuild/DEBIAN"
	printf 'Package: osbuild\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: osbuild\n' $v >"$top/osbuild/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$top/osbuild" "$root/osbuild$v.deb" >/dev/null
done
cp "$dir/${name}"_*_"$arch.deb" "$root/ours.deb"
inside() { chroot "$root" env -u TMPDIR DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" >/dev/null; }
inside dpkg -i osbuild1.deb && inside dpkg -i ours.deb && ours "deb: installed over osbuild" 6
inside dpkg -i ours.deb && ours "deb: installed again" 6
if command -v systemd-analyze >/dev/null; then # it ends with 0 where it ignores a line
	mkdir "$top/units"
	cp "$root/usr/lib/systemd/system/$name"-* "$top/units"
	sed -i "s,^ExecStart=,&$root/usr/bin/," "$top/units/"*.service
	out=$(systemd-analyze verify --man=no "$top/units/"* 2>&1) && [ -z "$out" ] || fail "units" "$out"
	echo "ok: units"
else
	echo "skipped: units: systemd-analyze is missing"
fi
if command -v lintian >/dev/null; then
	out=$(lintian --allow-root --fail-on error "$root/ours.deb" 2>&1) || fail "lintian" "$out"
	echo "ok: lintian"
else
	echo "skipped: lintian is missing"
fi
inside dpkg -i osbuild2.deb && ours "deb: osbuild updated" 6
if chroot "$root" $name modules disable 2>/dev/null; then fail "deb: disable" "want a refusal"; fi
inside dpkg -r $name && theirs 2 "deb: removed"
inside dpkg -P osbuild && inside dpkg -i ours.deb && ours "deb: installed without osbuild" 0
inside dpkg -i osbuild1.deb && ours "deb: osbuild installed later" 6
inside dpkg -r osbuild && ours "deb: osbuild removed" 0
inside dpkg -P $name && [ ! -e "$root/usr/lib/osbuild" ] || fail "deb: all removed" "$(find "$root/usr/lib/osbuild")"
[ -z "$(chroot "$root" dpkg-divert --list $name)" ] || fail "deb: all removed" "diversions are left"
echo "ok: deb: all removed"

# rpm: its scripts run in the root
root=$top/rpm
cp -a "$base" "$root"
mount -t proc proc "$root/proc"
for v in 1 2; do
	osbuild $v
	cat >"$top/osbuild.spec" <<-EOF
		Name: osbuild
		Version: $v
		Release: 1
		Summary: osbuild
		License: Apache-2.0
		BuildArch: noarch
		AutoReqProv: no
		%description
		osbuild
		%install
		cp -a $top/osbuild/. %{buildroot}
		%files
		/usr/lib/osbuild
	EOF
	rpmbuild --quiet -bb --define "_topdir $top/rpmbuild" --define "_rpmdir $top" --define "__os_install_post %{nil}" \
		--define "_rpmfilename osbuild$v.rpm" "$top/osbuild.spec" 2>/dev/null
done
case $arch in amd64) cpu=x86_64 ;; arm64) cpu=aarch64 ;; ppc64el) cpu=ppc64le ;; *) cpu=$arch ;; esac
cp "$dir/$name"-*."$cpu.rpm" "$top/ours.rpm"
inside() { rpm --root "$root" --nodeps --nosignature "$@"; }
inside -i "$top/osbuild1.rpm" && inside -i "$top/ours.rpm" && ours "rpm: installed over osbuild" 6
inside -U --replacepkgs "$top/ours.rpm" && ours "rpm: installed again" 6
inside -U "$top/osbuild2.rpm" && ours "rpm: osbuild updated" 6
chroot "$root" $name modules disable >/dev/null && chroot "$root" $name modules enable >/dev/null && ours "rpm: disabled and enabled" 6
inside -e $name && theirs 2 "rpm: removed"
inside -e osbuild && inside -i "$top/ours.rpm" && inside -i "$top/osbuild1.rpm" && ours "rpm: osbuild installed later" 6
inside -e osbuild && inside -e $name && [ -z "$(find "$root/usr/lib/osbuild" -type f 2>/dev/null)" ] || fail "rpm: all removed" "$(find "$root/usr/lib/osbuild")"
echo "ok: rpm: all removed"
