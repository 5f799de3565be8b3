#!/bin/sh
# lint.sh checks what needs no test: format, go vet, staticcheck, go.mod.
set -u

cd "$(dirname "$0")/.." || exit 1
failed=0

unformatted=$(git ls-files -co --exclude-standard -- '*.go' | while read -r f; do [ -e "$f" ] && printf '%s\n' "$f"; done | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'gofmt -w %s\n' $unformatted >&2
	failed=1
fi

# Built as kiln is built, so that what was compiled for it is used again.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath -buildvcs=false"
go vet ./... || failed=1
go tool staticcheck ./... || failed=1
go mod tidy -diff || failed=1
for script in scripts/*.sh; do
	sh -n "$script" || failed=1
done

[ $failed = 0 ] && echo 'lint: nothing to say'
exit $failed
