#!/bin/sh
# doctor.sh says what this machine lacks for building kiln and its images, and
# how to get it. It says nothing, and exits 0, where nothing is missing.
#
#   scripts/doctor.sh [build]
#
# With "build", only what building kiln itself takes.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
missing=0

lack() {
	printf '%s\n' "missing: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	missing=1
}

# atleast HAVE WANT compares dotted versions.
atleast() {
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)" = "$2" ]
}

check_go() {
	want=$(sed -n 's/^go //p' "$root/go.mod")
	if ! command -v "${GO:-go}" >/dev/null; then
		lack "Go $want" "Unpack it from https://go.dev/dl/ to /usr/local and put /usr/local/go/bin into PATH."
		return
	fi
	# In the module, so that Go may fetch the version that go.mod asks for.
	have=$(cd "$root" && "${GO:-go}" env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//')
	atleast "${have:-0}" "$want" ||
		lack "Go $want or later; ${GO:-go} is ${have:-too old to read go.mod}" \
			"Unpack it from https://go.dev/dl/, or let Go fetch it: go env -w GOTOOLCHAIN=auto"
}

check_cc() {
	cc=$(cd "$root" && "${GO:-go}" env CC 2>/dev/null)
	command -v "${cc:-gcc}" >/dev/null ||
		lack "a C compiler (${cc:-gcc}): the race detector and runc need one" \
			"Debian, Ubuntu: sudo apt-get install gcc libc6-dev" \
			"Fedora:         sudo dnf install gcc glibc-devel" \
			"Alpine:         sudo apk add gcc musl-dev" \
			"Arch:           sudo pacman -S gcc"
}

check_git() {
	command -v git >/dev/null ||
		lack "git: versions and the labels of images come from it" "Install the package git."
}

check_openssl() {
	command -v openssl >/dev/null ||
		lack "openssl: the tests make certificates as docs/builders.md says" "Install the package openssl."
}

check_kernel() {
	if [ "$(uname -s)" != Linux ]; then
		lack "Linux: the engine runs RUN steps in Linux containers" "Use a machine or a virtual machine with Linux."
		return
	fi
	for ns in mnt pid uts ipc net user; do
		[ -e /proc/self/ns/$ns ] ||
			lack "$ns namespaces in this kernel" "Use a kernel with the options CONFIG_NAMESPACES and CONFIG_$(printf %s "$ns" | tr a-z A-Z)_NS."
	done
	grep -q '^Seccomp:' /proc/self/status ||
		lack "seccomp in this kernel" "Use a kernel with CONFIG_SECCOMP_FILTER."
	grep -qw overlay /proc/filesystems || [ -n "$(find "/lib/modules/$(uname -r)" -name 'overlay.ko*' 2>/dev/null)" ] ||
		lack "overlayfs in this kernel" "Use a kernel with CONFIG_OVERLAY_FS, or load the module: sudo modprobe overlay"
	grep -q ' - cgroup2\? ' /proc/self/mountinfo ||
		lack "control groups: nothing is mounted on /sys/fs/cgroup" \
			"In a container, start it with the cgroup file system (docker run --privileged --cgroupns=host);" \
			"elsewhere: sudo mount -t cgroup2 none /sys/fs/cgroup"
}

# allowed FILE: the value of a kernel setting, 1 where there is none.
setting() { cat "$1" 2>/dev/null || echo 1; }

check_rights() {
	[ "$(id -u)" != 0 ] || return 0
	if [ "$(setting /proc/sys/kernel/unprivileged_userns_clone)" = 0 ] || [ "$(setting /proc/sys/user/max_user_namespaces)" = 0 ]; then
		lack "user namespaces for users that are not root" \
			"sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=28633, or run as root."
	elif ! unshare -U true 2>/dev/null && command -v unshare >/dev/null; then
		lack "the right to make user namespaces" \
			"Ubuntu: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run as root."
	fi
	command -v newuidmap >/dev/null && command -v newgidmap >/dev/null ||
		lack "newuidmap and newgidmap: without root the engine needs them" \
			"Debian, Ubuntu: sudo apt-get install uidmap" \
			"Fedora:         sudo dnf install shadow-utils" \
			"Alpine:         sudo apk add shadow-uidmap"
	for file in /etc/subuid /etc/subgid; do
		grep -q "^\($(id -un)\|$(id -u)\):" $file 2>/dev/null ||
			lack "a range for $(id -un) in $file" "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
	done
}

check_go
check_git
if [ "${1:-all}" = all ]; then
	check_cc
	check_openssl
	check_kernel
	check_rights
fi
exit $missing
