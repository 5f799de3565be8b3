#!/bin/sh
# tmux.sh puts tmux at DEST/tmux, for the tests that look at a terminal as
# people do.
#
#   scripts/tmux.sh DEST
#
# It takes the machine's own tmux if there is one, else Debian's, which it
# unpacks with its libraries, and does not install. What is there already is
# left alone; remove DEST to have it made anew. KILN_TMUX=FILE names another,
# and KILN_TMUX=debian asks for Debian's.
set -eu

say() { printf '%s\n' "tmux: $*"; }
die() {
	printf '%s\n' "tmux: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -eq 1 ] || die "usage: scripts/tmux.sh DEST"

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)

# shows FILE: it starts and has a terminal with a program in it.
shows() {
	socket=$(mktemp -u "${TMPDIR:-/tmp}/tmux.XXXXXX")
	"$1" -S "$socket" -f /dev/null new-session -d -x 20 -y 5 'cat' 2>"$dest/log" &&
		"$1" -S "$socket" list-panes >/dev/null 2>>"$dest/log"
	shown=$?
	"$1" -S "$socket" kill-server 2>/dev/null || true
	rm -f "$socket"
	return $shown
}

# adopt FILE: the tests are to use it.
adopt() {
	shows "$1" || die "$1 does not show a terminal:" "$(tail -n 5 "$dest/log")"
	printf '#!/bin/sh\nexec "%s" "$@"\n' "$1" >"$dest/tmux.tmp"
	chmod 755 "$dest/tmux.tmp"
	mv "$dest/tmux.tmp" "$dest/tmux"
	say "$dest/tmux is $1"
	exit 0
}

wanted=${KILN_TMUX:-}
case $wanted in
'')
	if [ -x "$dest/tmux" ]; then
		say "$dest/tmux is there"
		exit
	fi
	if found=$(command -v tmux); then adopt "$found"; fi
	;;
debian) ;;
*) adopt "$wanted" ;;
esac

command -v apt-cache >/dev/null && command -v dpkg-deb >/dev/null ||
	die "there is no tmux, and this machine is not of the Debian family" \
		"Install tmux, or name one with KILN_TMUX=/path/to/tmux."
if ! apt-cache show tmux 2>/dev/null | grep -q '^Filename:'; then
	[ "$(id -u)" = 0 ] || die "there is no tmux, and the package lists do not know it" "Run 'sudo apt-get update', or install tmux."
	apt-get update -qq -o Acquire::Retries=5 >/dev/null || die "apt-get update failed: is the network there?"
fi

# Its libraries but for the C library, which is the machine's own, and the
# descriptions of terminals.
libraries=$(apt-cache depends tmux --no-recommends --no-suggests --no-conflicts \
	--no-breaks --no-replaces --no-enhances | sed -n 's/^ *Depends: \(lib.*\)/\1/p' | grep -v '^libc6$')

work=$(mktemp -d "$dest/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck disable=SC2086 # a list of names
sh "$here/debs.sh" "$work/root" tmux ncurses-base $libraries ||
	die "Debian's tmux could not be fetched" "Install tmux, or name one with KILN_TMUX=/path/to/tmux."
rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/man" "$dest/root"
mv "$work/root" "$dest/root"
path=$(find "$dest/root" -name '*.so*' -exec dirname {} \; | sort -u | tr '\n' ':')
cat >"$work/tmux" <<-SH
	#!/bin/sh
	LD_LIBRARY_PATH='$path' TERMINFO_DIRS='$dest/root/lib/terminfo:/etc/terminfo:/lib/terminfo:/usr/share/terminfo' exec '$dest/root/usr/bin/tmux' "\$@"
SH
chmod 755 "$work/tmux"
shows "$work/tmux" || die "Debian's tmux does not show a terminal here:" "$(tail -n 5 "$dest/log")"
mv "$work/tmux" "$dest/tmux"
say "$dest/tmux is Debian's, $(du -sh "$dest/root" | cut -f 1)"
