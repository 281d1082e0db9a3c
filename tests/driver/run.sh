#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of /dev/vaccelN in a guest, against a daemon of its own:
#
#   run.sh qemu|uml|uml-debug VACCELD DRIVER-IOCTL [NAME...]
#
# uml-debug is User-Mode Linux with a kernel that checks memory and locks: every allocation fails in turn, leaks are looked
# for, and at last the daemon is killed.
# VACCEL_PLUGIN_DIR: where the plugins reference and fault are found. Exit status: 0 passed, 1 failed.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
kind=$1 vacceld=$2 program=$3
shift 3
private=$(mktemp -d)
daemon=
# shellcheck disable=SC2317 # called by the trap
finish() {
	[ -z "$daemon" ] || kill "$daemon" 2> /dev/null || :
	wait
	rm -rf "$private"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# Small limits can be reached.
cat > "$private/vaccel.conf" <<- END
	[engine]
	queues = 2
	[limits]
	sessions = 16
	buffers = 8
	buffer_bytes = 64M
	request_bytes = 256M
	extents = 8192
	[order]
	default = fault reference
END
"$vacceld" --socket-path="$private/socket" --config="$private/vaccel.conf" 2> "$private/log" &
daemon=$!
for _ in $(seq 100); do
	[ ! -S "$private/socket" ] || break
	sleep 0.1
done

# guest KIND KERNEL COMMAND...: a drain that is too short for the slowest requests in flight: what is left is answered by
# the driver.
guest() {
	guest_kind=$1 guest_kernel=$2
	shift 2
	module=$("$top/tools/module" --kernel "$guest_kernel")
	TMPDIR=$private "$top/tools/guest" --kind="$guest_kind" --kernel="$guest_kernel" --device="$private/socket" \
		--module="$module drain_ms=700 poll_us=1000" --timeout=500 -- "$@" || status=1
}

# Every allocation fails in turn, leaks are looked for. Then, in another guest, the daemon dies when a test makes its file
# in the folder that both sides see; leaks are looked for once more.
checked_guests() {
	leakless=$top/tests/driver/leakless
	guest uml uml-debug "$leakless" "$program" --fault --unbind --failing "$@"
	kill -0 "$daemon" || status=1
	{
		until ls "$private"/vaccel-guest.*/share/out/gone > /dev/null 2>&1; do
			sleep 0.1
		done
		kill -KILL "$daemon"
	} &
	killer=$!
	# shellcheck disable=SC2016 # the folder's name is known in the guest
	guest uml uml-debug sh -c '"$1" "$2" --fault --gone="$VACCEL_GUEST_OUT/gone"' - "$leakless" "$program"
	kill "$killer" 2> /dev/null || :
	kill -KILL "$daemon" 2> /dev/null || :
}

status=0
case $kind in
uml-debug)
	checked_guests "$@"
	wait "$daemon" || :
	;;
*)
	guest "$kind" "$([ "$kind" = uml ] && echo uml || echo debian)" "$program" --fault --unbind "$@"
	kill "$daemon"
	wait "$daemon" || { echo "the daemon failed" && status=1; }
	;;
esac
daemon=
[ $status -eq 0 ] || sed 's/^/vacceld: /' "$private/log"
exit $status
