#!/bin/sh
# conformance.sh compares kiln's --print with what buildx bake printed, for a
# corpus of real definitions that brings its own check.py.
#
#   scripts/conformance.sh CORPUS
#
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
list=config/testdata/corpus-differences.txt

make -s build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 "$corpus/check.py" --tool "'$PWD/bin/kiln' build" --show 100000 >"$work/out" 2>&1 || true
grep -q 'pass' "$work/out" || {
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
tail -n 1 "$work/out"
echo "conformance: $(wc -l <"$work/failed") cases differ, $(wc -l <"$work/known") of them on purpose"
exit $failed
