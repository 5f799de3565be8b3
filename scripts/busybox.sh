#!/bin/sh
# busybox.sh puts a static busybox at DEST/busybox: what the images that are
# made from nothing have for a shell.
#
#   scripts/busybox.sh DEST
#
# It takes the machine's busybox if that is static, else Debian's
# busybox-static, which it unpacks and does not install. KILN_BUSYBOX=FILE
# names one. It prints one line on what it did.
set -eu

say() { printf '%s\n' "busybox: $*"; }
die() {
	printf '%s\n' "busybox: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -eq 1 ] || die "usage: scripts/busybox.sh DEST"

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)/busybox

# static FILE: it runs, and needs no library. A static program has no
# interpreter for the kernel to load.
static() {
	[ -x "$1" ] && "$1" true 2>/dev/null || return 1
	! "$1" strings "$1" 2>/dev/null | head -n 40 | "$1" grep -q '^/lib.*/ld-'
}

# adopt FILE copies it, so that it can be sent to a build as a plain file.
adopt() {
	cp "$1" "$dest.tmp" && chmod 755 "$dest.tmp" && mv "$dest.tmp" "$dest"
	say "$dest is $2"
}

if [ -n "${KILN_BUSYBOX:-}" ]; then
	static "$KILN_BUSYBOX" || die "KILN_BUSYBOX=$KILN_BUSYBOX is not a static busybox that runs here"
	adopt "$KILN_BUSYBOX" "$KILN_BUSYBOX"
	exit
fi
if static "$dest"; then
	say "$dest is there"
	exit
fi
for found in $(command -v busybox || true) /bin/busybox /usr/bin/busybox /bin/busybox.static /usr/lib/initramfs-tools/bin/busybox; do
	if static "$found"; then
		adopt "$found" "the machine's $found"
		exit
	fi
done
if command -v apt-get >/dev/null; then
	sh "$here/debs.sh" "$root/.cache/busybox" busybox-static || die "no static busybox on this machine, and none from Debian" \
		"Install one: sudo apt-get install busybox-static"
	for found in "$root/.cache/busybox/bin/busybox" "$root/.cache/busybox/usr/bin/busybox"; do
		if static "$found"; then
			adopt "$found" "from Debian's busybox-static"
			exit
		fi
	done
	die "Debian's busybox-static holds no static busybox that runs here"
fi
die "no static busybox on this machine" \
	"Debian, Ubuntu: sudo apt-get install busybox-static" \
	"Fedora:         sudo dnf install busybox" \
	"Alpine:         sudo apk add busybox-static" \
	"Arch:           sudo pacman -S busybox" \
	"openSUSE:       sudo zypper install busybox-static" \
	"or name one with KILN_BUSYBOX=/path/to/busybox"
