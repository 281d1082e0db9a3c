#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Signals end the guest, and nothing of it stays: no process, no file. Not even when tools/guest is killed outright does
# the guest go on.
. "$(dirname "$0")/lib.sh"
can_run

# The processes of guests that were started in our folder (their command lines name it).
processes() {
	for file in /proc/[0-9]*/cmdline; do
		if tr '\0' ' ' 2> /dev/null < "$file" | grep -q -e "$private/vaccel-guest"; then
			echo "${file%/cmdline}"
		fi
	done
}

# Waits until "$@" succeeds, for as long as a slow machine may take.
until_true() {
	for _ in $(seq 600); do
		"$@" && return
		sleep 0.1
	done
	fail "waited in vain: $*"
}

begun() {
	grep -q begun stdout
}

ended() {
	[ -z "$(processes)" ]
}

no_folder() {
	[ -z "$(find . -name 'vaccel-guest*')" ]
}

for pair in INT:130 TERM:143 HUP:129 KILL:137; do
	signal=${pair%:*}
	"$top/tools/guest" --kind="$kind" -- sh -c 'echo begun; sleep 1000' > stdout 2> stderr &
	pid=$!
	until_true begun
	[ -n "$(processes)" ] || fail "there is no process to look for: the test is blind"
	kill -s "$signal" "$pid"
	wait "$pid"
	equal "status after SIG$signal" "${pair#*:}" $?
	until_true ended
	until_true no_folder
	: > stdout
done
