#!/bin/sh
# debs.sh unpacks Debian packages into a directory, without installing them.
#
#   scripts/debs.sh DEST PACKAGE…
#
# Downloads are kept in .cache/debs. It needs apt-get and dpkg-deb, thus a
# machine of the Debian family; as root it fetches the package lists where
# there are none yet.
set -eu

die() {
	printf '%s\n' "debs: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -ge 2 ] || die "usage: scripts/debs.sh DEST PACKAGE…"

root=$(cd "$(dirname "$0")/.." && pwd)
cache=$root/.cache/debs
mkdir -p "$1"
dest=$(cd "$1" && pwd)
shift

for tool in apt-get dpkg-deb; do
	command -v "$tool" >/dev/null || die "$tool is not there: this machine is not of the Debian family" \
		"The caller says what to do instead."
done

# known says whether the package lists name all that is asked for.
known() { apt-cache show "$@" >/dev/null 2>&1; }

if ! known "$@"; then
	[ "$(id -u)" = 0 ] || die "the package lists do not know all of: $*" "Run 'sudo apt-get update' and try again."
	apt-get update -qq -o Acquire::Retries=5 >/dev/null || die "apt-get update failed: is the network there?"
	known "$@" || die "Debian's package lists do not know all of: $*"
fi

# One directory a call, so that calls at the same time do not meet.
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
for deb in "$cache"/*.deb; do
	[ -e "$deb" ] && ln "$deb" "$work/"
done

# Apt fetches as a user of its own where it can; it says so at length where it cannot.
fetch() (
	cd "$work"
	apt-get download -qq -o APT::Sandbox::User=root -o Acquire::Retries=5 "$@" >/dev/null 2>log
)

# Lists of some age name packages that the archive has replaced since.
renew() { [ "$(id -u)" = 0 ] && apt-get update -qq -o Acquire::Retries=5 >/dev/null; }

fetch "$@" || { renew && fetch "$@"; } || {
	cat "$work/log" >&2
	die "apt-get download failed for: $*"
}

for package in "$@"; do
	deb=$(ls -t "$work/${package}_"*.deb | head -n 1)
	dpkg-deb -x "$deb" "$dest" || die "dpkg-deb could not unpack $deb"
	ln -f "$deb" "$cache/" 2>/dev/null || true
done
