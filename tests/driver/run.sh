#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of /dev/vaccelN in a guest, against a daemon of its own:
#
#   run.sh qemu|uml VACCELD DRIVER-IOCTL [NAME...]
#
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
kernel=debian
[ "$kind" = qemu ] || kernel=uml
module=$("$top/tools/module" --kernel "$kernel")
"$vacceld" --socket-path="$private/socket" --config="$private/vaccel.conf" 2> "$private/log" &
daemon=$!
for _ in $(seq 100); do
	[ ! -S "$private/socket" ] || break
	sleep 0.1
done
# A drain that is too short for the slowest requests in flight: what is left is answered by the driver.
status=0
"$top/tools/guest" --kind="$kind" --device="$private/socket" --module="$module drain_ms=700 poll_us=1000" --timeout=500 -- \
	"$program" --fault --unbind "$@" || status=1
kill "$daemon"
wait "$daemon" || { echo "the daemon failed" && status=1; }
daemon=
[ $status -eq 0 ] || sed 's/^/vacceld: /' "$private/log"
exit $status
