#!/bin/sh
# chromium.sh puts a headless Chromium at DEST/chromium, for the tests that
# look at what kiln draws.
#
#   scripts/chromium.sh DEST
#
# It takes KILN_CHROMIUM=FILE if that names one, else Debian's
# chromium-headless-shell, which it unpacks with its libraries and one font,
# and does not install, else a Chromium of this machine. What is there already
# is left alone; remove DEST to have it made anew.
set -eu

say() { printf '%s\n' "chromium: $*"; }
die() {
	printf '%s\n' "chromium: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -eq 1 ] || die "usage: scripts/chromium.sh DEST"

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)

# draws FILE: it starts and draws a page. A browser that lacks a library or a
# font fails here, and not in some test.
draws() {
	page='data:text/html,<title>drawn</title><p>text'
	rm -rf "$dest/profile" # of a run that was killed, and locked
	timeout 180 "$1" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
		--user-data-dir="$dest/profile" --dump-dom "$page" 2>"$dest/log" | grep -q '<title>drawn</title>'
	drawn=$?
	rm -rf "$dest/profile"
	return $drawn
}

# adopt FILE WHERE: the tests are to use it.
adopt() {
	draws "$1" || die "$1 does not draw a page:" "$(tail -n 5 "$dest/log")"
	if [ "$1" != "$dest/chromium" ]; then
		printf '#!/bin/sh\nexec "%s" "$@"\n' "$1" >"$dest/chromium.tmp"
		chmod 755 "$dest/chromium.tmp"
		mv "$dest/chromium.tmp" "$dest/chromium"
	fi
	say "$dest/chromium is $2"
	exit 0
}

if [ -n "${KILN_CHROMIUM:-}" ]; then
	adopt "$KILN_CHROMIUM" "$KILN_CHROMIUM"
fi
if [ -x "$dest/chromium" ]; then
	say "$dest/chromium is there"
	exit
fi

no_debian=
command -v apt-cache >/dev/null && command -v dpkg-deb >/dev/null || no_debian='this machine is not of the Debian family'
if [ -z "$no_debian" ] && ! apt-cache show chromium-headless-shell 2>/dev/null | grep -q '^Filename:'; then
	if [ "$(id -u)" != 0 ]; then
		no_debian="the package lists know no chromium-headless-shell, and only root may fetch them: run 'sudo apt-get update'"
	elif ! apt-get update -qq -o Acquire::Retries=5 >/dev/null; then
		no_debian='apt-get update failed: is the network there?'
	elif ! apt-cache show chromium-headless-shell 2>/dev/null | grep -q '^Filename:'; then
		no_debian='this Debian has no chromium-headless-shell'
	fi
fi
if [ -n "$no_debian" ]; then
	for found in chromium chromium-browser google-chrome chrome; do
		if found=$(command -v "$found"); then adopt "$found" "$found, of this machine"; fi
	done
	die "there is no Chromium: $no_debian, and none is in PATH" \
		"Install one (the package is mostly called chromium), or name one with KILN_CHROMIUM=/path/to/chromium."
fi

depends() {
	apt-cache depends "$@" --no-recommends --no-suggests --no-conflicts \
		--no-breaks --no-replaces --no-enhances 2>/dev/null
}

# What is the machine's own (the C library, which all its programs share), what
# only installing takes, and fonts: one is enough.
unneeded='^(fonts-.*|ttf-.*|fontconfig-config|libc6|c?debconf|dpkg|perl.*|tar|install-info|libelogind0|libdebian-installer.*|libnewt.*|libslang.*|libtextwrap.*|readline-common|sysvinit-utils|lsb-base|.*:.*)$'

# chromium-common holds the browser's data; what it depends on opens windows.
direct=$(depends chromium-headless-shell | sed -n 's/^ *Depends: //p' | grep -v '^chromium-common$')
# shellcheck disable=SC2086 # a list of names
closure=$(depends --recurse $direct | grep '^[a-z0-9]' | sort -u | grep -Ev "$unneeded")
# shellcheck disable=SC2086
closure=$(apt-cache show $closure 2>/dev/null | sed -n 's/^Package: //p' | sort -u)

work=$(mktemp -d "$dest/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# shellcheck disable=SC2086
sh "$here/debs.sh" "$work/root" chromium-headless-shell chromium-common fonts-dejavu-core $closure ||
	die "Debian's chromium-headless-shell could not be fetched" \
		"Install a Chromium and name it with KILN_CHROMIUM=/path/to/chromium."
for unused in share/doc share/man share/locale share/info share/lintian share/icons share/bug share/applications; do
	rm -rf "$work/root/usr/$unused"
done
rm -f "$work"/root/usr/lib/chromium/libVkLayer*

rm -rf "$dest/root"
mv "$work/root" "$dest/root"
program=$(find "$dest/root/usr/lib" -name chromium-headless-shell -type f -perm -u+x | head -n 1)
[ -n "$program" ] || die "Debian's chromium-headless-shell holds no program of that name"
libraries=$(find "$dest/root" -name '*.so*' -type f -exec dirname {} \; | sort -u | tr '\n' ':')

# The one font that there is, whatever a page asks for: pictures of pages are
# alike on all machines.
cat >"$dest/fonts.conf" <<-XML
	<?xml version="1.0"?>
	<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
	<fontconfig>
	  <dir>$dest/root/usr/share/fonts</dir>
	  <cachedir>$dest/fonts</cachedir>
	</fontconfig>
XML
cat >"$work/chromium" <<-SH
	#!/bin/sh
	LD_LIBRARY_PATH='$libraries' FONTCONFIG_FILE='$dest/fonts.conf' exec '$program' "\$@"
SH
chmod 755 "$work/chromium"
draws "$work/chromium" || die "Debian's chromium-headless-shell does not draw a page here:" "$(tail -n 5 "$dest/log")"
mv "$work/chromium" "$dest/chromium"
say "$dest/chromium is Debian's, $(du -sh "$dest/root" | cut -f 1)"
