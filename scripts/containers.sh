#!/bin/sh
# containers.sh puts skopeo, podman, containerd and ctr into DEST, for the tests
# that have others read what kiln writes, and the other way round.
#
#   scripts/containers.sh DEST
#
# They are of Debian's packages, which are unpacked and not installed; where
# there are none, those of this machine. DEST/podman keeps all that it has in the
# directory that PODMAN_STATE names. What is there already is left alone; remove
# DEST to have it made anew.
set -eu

say() { printf '%s\n' "containers: $*"; }
die() {
	printf '%s\n' "containers: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -eq 1 ] || die "usage: scripts/containers.sh DEST"

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd -P)

if [ -e "$dest/done" ]; then
	say "$dest is there"
	exit
fi

no_debian=
command -v apt-cache >/dev/null && command -v dpkg-deb >/dev/null || no_debian='this machine is not of the Debian family'
if [ -z "$no_debian" ] && ! apt-cache show podman skopeo containerd 2>/dev/null | grep -q '^Filename:'; then
	if [ "$(id -u)" != 0 ]; then
		no_debian="the package lists know no podman, and only root may fetch them: run 'sudo apt-get update'"
	elif ! apt-get update -qq -o Acquire::Retries=5 >/dev/null; then
		no_debian='apt-get update failed: is the network there?'
	elif ! apt-cache show podman skopeo containerd 2>/dev/null | grep -q '^Filename:'; then
		no_debian='this Debian has no podman, skopeo or containerd'
	fi
fi

work=$(mktemp -d "$dest/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
libraries=
if [ -z "$no_debian" ]; then
	# The C library is the machine's own. The others are fetched with what they
	# need themselves, one step down, which is all there is to these.
	direct=$(apt-cache depends skopeo podman conmon containerd runc libgpgme11 libsubid4 --no-recommends --no-suggests \
		--no-conflicts --no-breaks --no-replaces --no-enhances 2>/dev/null |
		sed -n 's/^ *Depends: \(lib.*\)/\1/p' | grep -Ev '^(libc6|libelogind0)(:.*)?$' | sort -u)
	# shellcheck disable=SC2086 # a list of names
	sh "$here/debs.sh" "$work/root" skopeo podman conmon golang-github-containers-common containerd runc $direct ||
		die "Debian's packages could not be fetched"
	rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/man" "$work/root/usr/share/locale" "$dest/root"
	mv "$work/root" "$dest/root"
	libraries=$(find "$dest/root" -name '*.so*' -exec dirname {} \; | sort -u | tr '\n' ':')
fi

# place PROGRAM: where it is.
place() {
	if [ -z "$no_debian" ]; then
		find "$dest/root/usr/bin" "$dest/root/usr/sbin" -name "$1" -type f | head -n 1
	else
		command -v "$1" || die "there is no $1: $no_debian, and none is in PATH" "Install skopeo, podman and containerd."
	fi
}

printf '%s\n' '{"default": [{"type": "insecureAcceptAnything"}]}' >"$dest/policy.json"
printf '%s\n' 'unqualified-search-registries = ["docker.io"]' >"$dest/registries.conf"
# wrap PROGRAM ARGUMENT…: put it at DEST, with its libraries and arguments.
wrap() {
	program=$1
	path=$(place "$program")
	[ -n "$path" ] || die "Debian's packages hold no $program"
	shift
	cat >"$dest/$program" <<-SH
		#!/bin/sh
		LD_LIBRARY_PATH='$libraries' CONTAINERS_REGISTRIES_CONF='$dest/registries.conf' exec '$path' $* "\$@"
	SH
	chmod 755 "$dest/$program"
}
wrap skopeo --policy "'$dest/policy.json'"
wrap containerd
wrap ctr

# Podman would write to places of the machine: locks, networks, and its state.
cat >"$dest/podman" <<-SH
	#!/bin/sh
	set -e
	state=\${PODMAN_STATE:?the directory in which podman keeps its state}
	if [ ! -e "\$state/containers.conf" ]; then
		mkdir -p "\$state/.config/containers"
		cp '$dest/policy.json' "\$state/.config/containers/"
		cat >"\$state/storage.conf" <<-CONF
			[storage]
			driver = "vfs"
			runroot = "\$state/run"
			graphroot = "\$state/root"
		CONF
		cat >"\$state/containers.conf" <<-CONF
			[network]
			network_config_dir = "\$state/networks"
			[engine]
			conmon_path = ["$(place conmon)"]
			events_logger = "none"
			cgroup_manager = "cgroupfs"
			lock_type = "file"
			static_dir = "\$state/static"
			tmp_dir = "\$state/tmp"
			runtime = "runc"
			[engine.runtimes]
			runc = ["$(place runc)"]
		CONF
	fi
	export LD_LIBRARY_PATH='$libraries' CONTAINERS_REGISTRIES_CONF='$dest/registries.conf'
	export HOME="\$state" XDG_RUNTIME_DIR="\$state/run" TMPDIR="\$state"
	export CONTAINERS_CONF="\$state/containers.conf" CONTAINERS_STORAGE_CONF="\$state/storage.conf"
	exec '$(place podman)' "\$@"
SH
chmod 755 "$dest/podman"

for program in skopeo podman containerd ctr; do
	PODMAN_STATE="$work/state" "$dest/$program" --version >/dev/null 2>"$dest/log" ||
		die "$program does not start here:" "$(tail -n 5 "$dest/log")"
done
: >"$dest/done"
say "$dest has skopeo, podman, containerd and ctr"
