# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# For the tests of tools/guest, each of which is a script that takes the kind of guest as its argument. Gives: a private
# folder, which is the current one; $kind; guest, which runs tools/guest with that kind; check and equal.

top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck disable=SC2034 # for the scripts
kind=${1:-qemu}
private=$(mktemp -d)
trap 'cd / && rm -rf "$private"' EXIT
cd "$private" || exit 1
# Where runs of this test put their folders.
export TMPDIR="$private"

guest() {
	"$top/tools/guest" --kind="$kind" "$@"
}

skip() {
	echo "skipped: $*" >&2
	exit 77
}

fail() {
	echo "failed: $*" >&2
	exit 1
}

# equal WHAT EXPECTED ACTUAL
equal() {
	[ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# A guest needs packages that only the network may have.
can_run() {
	guest --prepare 2> prepare.err || skip "no guest can be prepared here: $(tail -n 1 prepare.err)"
}
