#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# guest.sh qemu|uml PROGRAM...: runs the tests of the library in a guest, over the driver, beside a daemon of its own.
# WITH_DAEMON names the program that starts that.
kind=$1
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../guest/lib.sh
. "$top/tests/guest/lib.sh"
shift
can_run

case $kind in
uml) kernel=uml ;;
*) kernel=debian ;;
esac
module=$("$top/tools/module" --kernel "$kernel" 2> stderr) || {
	grep -q 'cannot \(download\|fetch\)' stderr && skip "no headers can be had here: $(cat stderr)"
	fail "cannot build the driver: $(cat stderr)"
}
failed=
for program; do
	# One guest for each: what is wrong in one test does not reach the next.
	# shellcheck disable=SC2016 # the inner shell's variables
	"$WITH_DAEMON" -c "$("$program" config)" sh -c '
		"$1/tools/guest" --kind="$2" --device "${VACCEL_TRANSPORT#shm:}" --module "$3" --timeout 240 -- \
			"$4" virtio:/dev/vaccel0' - "$top" "$kind" "$module" "$program"
	status=$?
	[ $status -eq 77 ] && skip "there is no daemon in this build"
	[ $status -eq 0 ] || failed="$failed $program: $status"
done
[ -z "$failed" ] || fail "in a guest:$failed"
