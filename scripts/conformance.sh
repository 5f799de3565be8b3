#!/bin/sh
# conformance.sh compares kiln's --print with what buildx bake printed, for a
# corpus of real definitions that brings its own check.py.
#
#   scripts/conformance.sh CORPUS
#
# It builds kiln, unless KILN names one (and LIST may name another list).
# Cases in which kiln differs on purpose stand in
# config/testdata/corpus-differences.txt, a case and the reason on each line,
# with a tab between. Any other difference is a failure, and so is a case of
# the list that no longer differs.
set -eu

[ $# -eq 1 ] && [ -e "$1/check.py" ] || {
	echo 'usage: scripts/conformance.sh CORPUS' >&2
	exit 2
}
corpus=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
list=${LIST:-config/testdata/corpus-differences.txt}
[ -n "${KILN:-}" ] || make -s build
kiln=${KILN:-$PWD/bin/kiln}

if grep -nv '^#\|^[^	]*	.*[^ 	]' "$list" 2>/dev/null; then
	echo "$list: the lines above have no reason" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 "$corpus/check.py" --tool "'$kiln' build" --timeout 300 --show 100000 >"$work/out" 2>&1 || true
grep -q '^pass ' "$work/out" || { # check.py itself failed
	cat "$work/out" >&2
	exit 1
}
sed -n 's/^FAIL \([^ ]*\).*/\1/p' "$work/out" | sort -u >"$work/failed"
{ grep -v '^#' "$list" 2>/dev/null || true; } | cut -f 1 | sort -u >"$work/known"

failed=0
comm -23 "$work/failed" "$work/known" >"$work/new"
comm -13 "$work/failed" "$work/known" >"$work/gone"
if [ -s "$work/new" ]; then
	cat "$work/out"
	echo "differ, and are not in $list:" >&2
	sed 's/^/  /' "$work/new" >&2
	failed=1
fi
if [ -s "$work/gone" ]; then
	echo "stand in $list, but do not differ:" >&2
	sed 's/^/  /' "$work/gone" >&2
	failed=1
fi
grep '^pass ' "$work/out"
echo "conformance: $(wc -l <"$work/failed") cases differ, $(wc -l <"$work/known") of them on purpose"
exit $failed
