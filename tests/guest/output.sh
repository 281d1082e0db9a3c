#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Both streams and files come back whole and apart, however much there is, and whatever the kernel's console says.
. "$(dirname "$0")/lib.sh"
can_run

# shellcheck disable=SC2016 # for the guest's shell
guest --out out -- sh -c '
	(for i in $(seq 50); do echo "kernel noise $i" > /dev/kmsg; sleep 0.02; done) &
	seq 300000
	seq 300001 600000 >&2
	echo by name > /dev/stderr
	printf "\001\r\n\377\000"
	mkdir "$VACCEL_GUEST_OUT/folder"
	seq 100000 > "$VACCEL_GUEST_OUT/folder/file"
	ln -s file "$VACCEL_GUEST_OUT/folder/link"
	mkfifo "$VACCEL_GUEST_OUT/pipe"
	sleep 1000 &
	exit 0' > stdout 2> stderr || fail "status $?: $(tail -n 5 stderr)"

seq 300000 > expected
printf '\001\r\n\377\000' >> expected
cmp expected stdout || fail "standard output differs"
{ seq 300001 600000; echo by name; } | cmp - stderr || fail "standard error differs"
seq 100000 | cmp - out/folder/file || fail "the file differs"
equal "the link" file "$(readlink out/folder/link)"
[ ! -e out/pipe ] || fail "a special file came out of the guest"
