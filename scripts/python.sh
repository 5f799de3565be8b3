#!/bin/sh
# python.sh puts what the examples need of Python into DEST, for machines that
# reach no image registry and no package index:
#
#   DEST/rootfs.tar   Python, the C library and what it needs, of Debian
#   DEST/packages.tar Flask and its dependencies, as Debian's packages hold them
#
#   scripts/python.sh DEST
#
# Debian's packages are downloaded and unpacked, not installed. What is there
# already is left alone; remove DEST to have it made anew.
set -eu

say() { printf '%s\n' "python: $*"; }
die() {
	printf '%s\n' "python: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -eq 1 ] || die "usage: scripts/python.sh DEST"

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)

if [ -e "$dest/rootfs.tar" ] && [ -e "$dest/packages.tar" ]; then
	say "$dest is there"
	exit
fi
command -v apt-cache >/dev/null || die "a Python for offline builds is made of Debian's packages, and there is no apt here" \
	"With a network, build the examples from their usual images instead: kiln build -f examples/python-web/build.hcl"

# closure PACKAGE… lists the packages with all that they depend on.
closure() {
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
		--no-breaks --no-replaces --no-enhances "$@" 2>/dev/null | grep '^[a-z0-9]' | sort -u
}

# Installing needs these; running does not.
unneeded='^(c?debconf|dpkg|perl.*|libperl.*|libdebian-installer.*|libnewt.*|libslang.*|libtextwrap.*|tar|install-info|mailcap|mime-support|openssl|libgdbm.*|readline-common|libselinux.*|libpcre2.*|libjs-.*|sphinx.*|javascript-common)$'

# real drops the names that only other packages provide.
real() { xargs apt-cache show 2>/dev/null | sed -n 's/^Package: //p' | sort -u; }

if ! apt-cache show python3 2>/dev/null | grep -q '^Filename:'; then
	[ "$(id -u)" = 0 ] || die "there are no package lists" "Run 'sudo apt-get update' and try again."
	apt-get update -qq -o Acquire::Retries=5 >/dev/null || die "apt-get update failed: is the network there?"
fi

work=$(mktemp -d "$dest/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# shellcheck disable=SC2046 # a list of names
sh "$here/debs.sh" "$work/rootfs" $(closure python3 python3-pip-whl | grep -Ev "$unneeded" | real)
for unused in usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/lintian usr/share/applications usr/share/pixmaps usr/share/bug; do
	rm -rf "$work/rootfs/$unused"
done
rm -f "$work"/rootfs/usr/share/python-wheels/setuptools-* "$work"/rootfs/usr/share/python-wheels/wheel-*

# Debian's packages rely on /lib being a link to /usr/lib.
for dir in bin sbin lib lib32 lib64 libx32; do
	[ -d "$work/rootfs/$dir" ] && [ ! -h "$work/rootfs/$dir" ] || continue
	mkdir -p "$work/rootfs/usr/$dir"
	cp -a "$work/rootfs/$dir/." "$work/rootfs/usr/$dir/"
	rm -rf "${work:?}/rootfs/$dir"
	ln -s "usr/$dir" "$work/rootfs/$dir"
done

flask=
for package in $(closure python3-flask | grep '^python3-' | grep -v '^python3-\(minimal\|distutils\|lib2to3\|pkg-resources\|setuptools\)$'); do
	flask="$flask $package"
done
# shellcheck disable=SC2086
sh "$here/debs.sh" "$work/packages" $flask

# The same files give the same archive, byte for byte, so that caches hold.
pack() {
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$work/$1" -cf "$work/$1.tar" "$2"
	mv "$work/$1.tar" "$dest/$1.tar"
}
pack rootfs .
pack packages ./usr/lib/python3/dist-packages
say "$dest is made of Debian's packages, $(du -h "$dest/rootfs.tar" | cut -f 1)"
