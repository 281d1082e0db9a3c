# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# For the scripts beside it: a private folder ($private) that goes with the script, and a daemon in it. $VACCELD and
# $OP_SUITE name the programs.
# shellcheck disable=SC2034 # for the scripts
top=$(cd "$(dirname "$0")/../.." && pwd)
daemon=
private=$(mktemp -d "${TMPDIR:-/tmp}/vaccel-suite.XXXXXX")

finish() {
	if [ -n "$daemon" ]; then
		kill "$daemon" 2> /dev/null
		wait "$daemon"
	fi
	rm -rf "$private"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

skip() {
	echo "1..0 # SKIP $*"
	exit 77
}

fail() {
	echo "$*" >&2
	if [ -s "$private/daemon.log" ]; then
		sed 's/^/daemon: /' "$private/daemon.log" >&2
	fi
	exit 1
}

# start_daemon CONFIGURATION: listens on $socket.
start_daemon() {
	socket=$private/vaccel.sock
	[ -x "${VACCELD:-}" ] || skip "there is no daemon in this build"
	"$VACCELD" --socket-path="$socket" --config="$1" 2> "$private/daemon.log" &
	daemon=$!
	tries=0
	while [ ! -S "$socket" ]; do
		tries=$((tries + 1))
		kill -0 "$daemon" 2> /dev/null || fail "the daemon ended before it listened"
		[ "$tries" -lt 600 ] || fail "the daemon does not listen"
		sleep 0.1
	done
}
