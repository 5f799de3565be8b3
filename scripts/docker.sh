#!/bin/sh
# docker.sh puts a Docker Engine at DEST/dockerd and its client at DEST/docker,
# for the tests that build with one.
#
#   scripts/docker.sh DEST
#
# They are of Debian's packages, which are unpacked and not installed. What is
# there already is left alone; remove DEST to have it made anew. Where none can
# be had, the reason is written to DEST/none, and the tests that need an engine
# are skipped with it.
set -eu

say() { printf '%s\n' "docker: $*"; }

[ $# -eq 1 ] || {
	echo "usage: scripts/docker.sh DEST" >&2
	exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)

# none REASON: the tests skip.
none() {
	printf '%s\n' "$1" >"$dest/none"
	say "there is no Docker Engine for the tests: $1"
	exit 0
}

if [ -x "$dest/dockerd" ] && [ -x "$dest/docker" ]; then
	say "$dest/dockerd is there"
	exit
fi
rm -f "$dest/none"
command -v apt-cache >/dev/null && command -v dpkg-deb >/dev/null || none "this machine is not of the Debian family"
if ! apt-cache show docker.io 2>/dev/null | grep -q '^Filename:'; then
	[ "$(id -u)" = 0 ] || none "the package lists do not know docker.io, and only root may fetch them: run 'sudo apt-get update'"
	apt-get update -qq -o Acquire::Retries=5 >/dev/null || none "apt-get update failed: is the network there?"
	apt-cache show docker.io 2>/dev/null | grep -q '^Filename:' || none "this Debian has no package docker.io"
fi

# Its libraries but for the C library, which is the machine's own. Ubuntu's
# client is a part of docker.io, newer Debians have a package for it.
libraries=$(apt-cache depends docker.io runc containerd --no-recommends --no-suggests --no-conflicts \
	--no-breaks --no-replaces --no-enhances | sed -n 's/^ *Depends: \(lib.*\)/\1/p' | grep -Ev '^(libc6|libelogind0)$' | sort -u)
client=
if apt-cache show docker-cli 2>/dev/null | grep -q '^Filename:'; then client=docker-cli; fi

work=$(mktemp -d "$dest/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck disable=SC2086 # lists of names
sh "$here/debs.sh" "$work/root" docker.io containerd runc $client $libraries || {
	echo "docker: Debian's packages could not be fetched" >&2
	exit 1
}
rm -rf "$work/root/usr/share" "$dest/root"
mv "$work/root" "$dest/root"
path=$(find "$dest/root" -name '*.so*' -exec dirname {} \; | sort -u | tr '\n' ':')
for program in dockerd docker; do
	file=$(find "$dest/root/usr" -name "$program" -type f -perm -u+x | head -n 1)
	cat >"$work/$program" <<-SH
		#!/bin/sh
		PATH="$dest/root/usr/bin:$dest/root/usr/sbin:\$PATH" LD_LIBRARY_PATH='$path' exec '$file' "\$@"
	SH
	chmod 755 "$work/$program"
	"$work/$program" --version >"$dest/log" 2>&1 || none "Debian's $program does not start here: $(tail -n 1 "$dest/log")"
done
mv "$work/docker" "$work/dockerd" "$dest/"
say "$dest/dockerd is Debian's, $("$dest/dockerd" --version | sed 's/,.*//')"
