#!/bin/sh
# runtime.sh puts a working OCI runtime at DEST/runc, for kiln's engine to find.
#
#   scripts/runtime.sh DEST
#
# It takes the machine's runc if that has seccomp; else it builds the runc that
# go.mod pins, statically, with seccomp. KILN_RUNC=build skips the first,
# KILN_RUNC=/path/to/runc names one. It prints one line on what it did.
set -eu

say() { printf '%s\n' "runtime: $*"; }
die() {
	printf '%s\n' "runtime: $1" >&2
	shift
	for line in "$@"; do printf '%s\n' "  $line" >&2; done
	exit 1
}

[ $# -eq 1 ] || die "usage: scripts/runtime.sh DEST"

root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)/runc
cache=$root/.cache/runtime
want=${KILN_RUNC:-auto}

# works FILE: it runs, and can apply a seccomp profile. Old versions have no
# "features" and name libseccomp in --version instead.
works() {
	[ -x "$1" ] || return 1
	if out=$("$1" features 2>/dev/null); then
		printf '%s' "$out" | tr -d ' \n\t' | grep -q '"seccomp":{"enabled":true' && return 0
	fi
	"$1" --version 2>/dev/null | grep -q '^libseccomp:'
}

version() { "$1" --version 2>/dev/null | sed -n '1s/.* //p'; }

# adopt FILE: link to a runtime of the machine.
adopt() {
	ln -sfn "$1" "$dest"
	say "$dest -> $1 ($(version "$1"), of this machine)"
	exit 0
}

if [ "$want" = build ]; then
	# A link would be someone else's runtime.
	[ -L "$dest" ] && rm -f "$dest"
elif [ "$want" != auto ]; then
	works "$want" || die "KILN_RUNC=$want is not a runc that works with seccomp"
	adopt "$(cd "$(dirname "$want")" && pwd)/$(basename "$want")"
fi

if works "$dest"; then
	say "$dest is there ($(version "$dest"))"
	exit 0
fi

if [ "$want" = auto ]; then
	for name in buildkit-runc runc; do
		found=$(command -v "$name" 2>/dev/null) || continue
		if works "$found"; then adopt "$found"; fi
	done
fi

# What a build needs.

[ "$(uname -s)" = Linux ] || die "runc runs on Linux only"
command -v go >/dev/null 2>&1 || die "no go in PATH: see https://go.dev/doc/install"

install_hint() {
	die "$1" \
		"Debian, Ubuntu:  apt-get install runc          or  apt-get install gcc libc6-dev libseccomp-dev pkg-config" \
		"Fedora:          dnf install runc              or  dnf install gcc glibc-static libseccomp-devel libseccomp-static" \
		"Alpine:          apk add runc                  or  apk add gcc musl-dev linux-headers libseccomp-dev libseccomp-static" \
		"Arch:            pacman -S runc                or  pacman -S gcc libseccomp" \
		"With the first of the two there is nothing to build."
}

cc=$(go env CC)
command -v "${cc%% *}" >/dev/null 2>&1 ||
	install_hint "this machine has no runc that works with seccomp, and no C compiler ($cc) to build one"

mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# links FLAGS...: a static program that calls libseccomp can be made.
links() {
	cat >"$work/try.c" <<-'C'
		#include <seccomp.h>
		int main(void) { return seccomp_version() == 0; }
	C
	$cc -static -o "$work/try" "$work/try.c" "$@" -lseccomp 2>"$work/try.log"
}

# fetch_debian: libseccomp's headers and archive, unpacked into the cache, not
# installed.
fetch_debian() { sh "$root/scripts/debs.sh" "$cache/seccomp" libseccomp-dev >"$work/apt.log" 2>&1; }

# flags_in DIR: compiler flags for an unpacked libseccomp-dev.
flags_in() {
	archive=$(find "$1" -name libseccomp.a 2>/dev/null | head -n 1)
	[ -n "$archive" ] || return 1
	cflags=-I$1/usr/include
	ldflags=-L$(dirname "$archive")
}

cflags= ldflags=
if ! links; then
	if ! { flags_in "$cache/seccomp" && links "$cflags" "$ldflags"; }; then
		fetch_debian && flags_in "$cache/seccomp" && links "$cflags" "$ldflags" || {
			cat "$work/apt.log" "$work/try.log" 2>/dev/null | sed 's/^/  | /' | tail -n 12 >&2
			install_hint "this machine has no runc that works with seccomp, and no static libseccomp to build one with"
		}
	fi
fi

# cgo asks pkg-config for libseccomp. This stand-in answers with what was just
# tried, so that neither pkg-config nor a .pc file has to be there. Where the
# archive is, the linker is told itself: go's build cache would keep the answer
# and give it to the next clone, whose archive is elsewhere.
cat >"$work/pkg-config" <<EOP
#!/bin/sh
for a; do
	case \$a in
	--cflags) printf '%s\n' '$cflags' ;;
	--libs) printf '%s\n' -lseccomp ;;
	esac
done
EOP
chmod +x "$work/pkg-config"

(cd "$root" && CGO_ENABLED=1 PKG_CONFIG=$work/pkg-config go build -trimpath \
	-tags 'seccomp netgo osusergo static_build' \
	-ldflags "-s -w -extldflags '-static $ldflags' -X main.version=$(cd "$root" && go list -m -f '{{.Version}}' github.com/opencontainers/runc)" \
	-o "$work/runc" github.com/opencontainers/runc) || install_hint "building runc failed (see above)"

works "$work/runc" || die "the runc just built does not work with seccomp: $("$work/runc" features 2>&1 | head -n 1)"
rm -f "$dest"
mv "$work/runc" "$dest"
say "$dest built ($(version "$dest"), static, with seccomp)"
