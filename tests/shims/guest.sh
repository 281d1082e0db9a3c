#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# guest.sh DIFFERENTIAL USE [VECTORS...]: the provider in a User-Mode Linux guest, over the driver, beside a daemon of its own.
# WITH_DAEMON names the program that starts that; OPENSSL_MODULES has the provider.
set -u

# ---- in the guest ----

fail() {
	echo "failed: $*" >&2
	exit 1
}

if [ "$1" = --inside ]; then
	differential=$2 use=$3
	shift 3
	cd "$(mktemp -d)" || exit 1
	export VACCEL_OPENSSL_THRESHOLD=48
	[ "$("$use" count AES-128-CBC AES-256-GCM vaccel-backup vaccel-other)" = 3 ] || fail "what is offered"
	"$differential" 1500 3 || fail "the provider differs from the default one"
	"$use" vectors "$@" || fail "vectors"
	"$use" threads || fail "threads"
	"$use" fork AES-128-CBC AES-256-CTR AES-256-GCM || fail "fork"
	"$use" held-fork vaccel-backup || fail "a key of the host's in a child"
	command -v openssl > /dev/null || exit 0
	head -c 300001 /dev/urandom > clear
	set -- -iv 000102030405060708090a0b0c0d0e0f -provider vaccel -provider default -propquery '?provider=vaccel'
	openssl enc -vaccel-backup -K '' "$@" -in clear -out coded || fail "encrypting with a key of the host's"
	cmp -s clear coded && fail "nothing is encrypted"
	openssl enc -d -vaccel-backup -K '' "$@" -in coded | cmp - clear || fail "decrypting with a key of the host's"
	openssl enc -aes-128-cbc -K 000102030405060708090a0b0c0d0e0f "$@" -in clear -out coded || fail "openssl enc"
	openssl enc -d -aes-128-cbc -K 000102030405060708090a0b0c0d0e0f -iv 000102030405060708090a0b0c0d0e0f -in coded |
		cmp - clear || fail "what the provider encrypted is another"
	exit 0
fi

# ---- here ----

top=$(cd "$(dirname "$0")/../.." && pwd)
differential=$(realpath "$1") use=$(realpath "$2")
shift 2
vectors=$(realpath "$@")
self=$top/tests/shims/guest.sh
set -- uml
# shellcheck source=../guest/lib.sh
. "$top/tests/guest/lib.sh"
can_run
module=$("$top/tools/module" --kernel uml 2> stderr) || {
	grep -q 'cannot \(download\|fetch\)' stderr && skip "no headers can be had here: $(cat stderr)"
	fail "cannot build the driver: $(cat stderr)"
}
head -c 32 /dev/urandom > backup && chmod 600 backup
config="[order]
default = openssl reference
[key backup]
file = $private/backup
cipher = aes-256-cbc
allow = encrypt decrypt
"
# shellcheck disable=SC2016,SC2086 # the inner shell's variables; no spaces in names of vectors
"$WITH_DAEMON" -c "$config" sh -c '
	top=$1 module=$2
	shift 2
	exec "$top/tools/guest" --kind=uml --device "${VACCEL_TRANSPORT#shm:}" --module "$module" --timeout 400 \
		--env "OPENSSL_MODULES=$OPENSSL_MODULES" --env VACCEL_TRANSPORT=virtio:/dev/vaccel0 \
		--env OPENSSL_CONF=/dev/null --env VACCEL_OPENSSL_KEYS=backup -- "$@"' \
	- "$top" "$module" "$self" --inside "$differential" "$use" $vectors
status=$?
[ $status -eq 77 ] && skip "there is no daemon in this build"
[ $status -eq 0 ] || fail "in a guest: $status"
