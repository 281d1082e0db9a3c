#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the plugins that need a kernel's help in a QEMU guest, whose kernel gives it:
#
#   engines.sh VACCELD PLUGIN-CIPHER THROUGH CUSE-CRYPTODEV [VECTORS...]
#
# Each plugin by itself with all vectors, then as the daemon's, in its sandbox, for clients over shared memory. And the plugin
# openssl in a daemon here:
#
#	engines.sh --here VACCELD THROUGH [VECTORS...]
#
# VACCEL_PLUGIN_DIR: folders of the plugins afalg, cryptodev and openssl. CUSE-CRYPTODEV may be "": /dev/crypto is left out.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)

# ---- in the guest ----

fail() {
	echo "engines: $*" >&2
	[ ! -s "${private:-/}/log" ] || sed 's/^/daemon: /' "$private/log" >&2
	exit 1
}

# The folder of a plugin: path NAME
path() {
	echo "$VACCEL_PLUGIN_DIR" | tr : '\n' | while read -r folder; do
		[ ! -f "$folder/vaccel-$1.so" ] || echo "$folder/vaccel-$1.so"
	done | grep .
}

# plugin_test NAME [KEY=VALUE...]
plugin_test() {
	file=$(path "$1")
	shift
	"$cipher" "$file" "$@" || fail "$file $*: status $?"
	for vectors in $all_vectors; do
		"$cipher" -v "$vectors" "$file" "$@" || fail "$file $*, $vectors: status $?"
	done
}

# refused NAME KEY=VALUE WORDS: it does not serve so, and says why.
refused() {
	said=$("$cipher" "$(path "$1")" "$2" 2>&1) && fail "$1 serves with $2"
	echo "$said" | grep -q "$3" || fail "$1 with $2 says: $said"
}

# daemon_test [-p] ORDER [OPTION...]: with -p, what the plugin does not serve is left out.
daemon_test() {
	partial=
	[ "$1" != -p ] || { partial=-p && shift; }
	order=$1
	shift
	"$vacceld" --socket-path="$private/socket" --config= --set=order.cipher="$order" --set=order.default="$order" \
		--set=sandbox.violation=report "$@" 2> "$private/log" &
	daemon=$!
	for _ in $(seq 300); do
		[ ! -S "$private/socket" ] || break
		sleep 0.1
	done
	for vectors in $all_vectors; do
		# shellcheck disable=SC2086 # one word or none
		"$through" $partial -s "$step" -v "$vectors" "shm:$private/socket" || fail "daemon with $order: status $?"
	done
	kill -TERM "$daemon"
	wait "$daemon" || fail "the daemon with $order ends with status $?"
	if grep -q 'sandbox: system call' "$private/log"; then
		fail "the daemon with $order makes calls that its sandbox does not allow"
	fi
	rm -f "$private/socket"
}

# sample: of all vectors one in so many, where all would take long.
sample() {
	for vectors in $all_vectors; do
		awk 'NR % 23 == 0' "$vectors"
	done > "$private/sample"
	echo "$private/sample"
}

afalg() {
	for module in algif_skcipher algif_aead aesni_intel ecb cbc ctr xts gcm; do
		modprobe "$module" 2> /dev/null || :
	done
	plugin_test afalg
	(all_vectors=$(sample) && plugin_test afalg 'cbc=cbc(aes-generic)' gcm=none)
	refused afalg cbc=no-such-driver 'no skcipher that is called no-such-driver'
	refused afalg 'cbc=ctr(aes-generic)' 'does not do what its mode is'
	refused afalg 'gcm=cbc(aes-generic)' 'no aead'
	daemon_test -p afalg
	daemon_test 'afalg openssl'
}

# The device is in user space, and slow.
cryptodev() {
	all_vectors=$(sample)
	modprobe cuse || fail "this kernel has no CUSE"
	"$cuse" -f -s &
	cuse_pid=$!
	for _ in $(seq 300); do
		[ ! -c /dev/crypto ] || break
		sleep 0.1
	done
	plugin_test cryptodev
	daemon_test -p cryptodev
	daemon_test 'cryptodev openssl'
	kill "$cuse_pid"
}

inside() {
	step=23
	vacceld=$1 cipher=$2 through=$3 cuse=$4
	shift 4
	all_vectors=$*
	private=$(mktemp -d)
	afalg
	[ -z "$cuse" ] || cryptodev
	echo "engines: passed"
}

# ---- outside ----

here() {
	step=1
	vacceld=$1 through=$2
	shift 2
	all_vectors=$*
	private=$(mktemp -d)
	trap 'rm -rf "$private"' EXIT
	daemon_test openssl
}

if [ "$1" = --here ]; then
	shift
	here "$@"
	exit
fi
if [ "$1" = --inside ]; then
	shift
	inside "$@"
	exit
fi
vacceld=$1 cipher=$2 through=$3 cuse=$4
shift 4
for vectors; do
	[ -f "$vectors" ] || { echo "skipped: there is no $vectors; tests/crypto/vectors makes it" >&2 && exit 77; }
done
why=$("$top/tools/guest" --prepare 2>&1) || {
	echo "skipped: no guest can be prepared here: $(echo "$why" | tail -n 1)" >&2
	exit 77
}
exec "$top/tools/guest" --timeout=900 --cpus=2 --env "VACCEL_PLUGIN_DIR=$VACCEL_PLUGIN_DIR" \
	-- "$0" --inside "$vacceld" "$cipher" "$through" "$cuse" "$@"
