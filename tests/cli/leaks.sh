#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# leaks.sh: in a build with AddressSanitizer, no subcommand of vaccel loses memory, over local: and over shm:, whether it
# succeeds or not, nor do supervisor and worker of the daemon that served it. From the environment: VACCEL, VACCELD,
# VACCEL_PLUGIN_DIR, VACCEL_SOURCE. Without the plugin models, the subcommands on models fail, and lose nothing either.
set -u
lost=23 # LeakSanitizer's status
export ASAN_OPTIONS="detect_leaks=1:exitcode=$lost"
private=$(mktemp -d)
daemon=
# shellcheck disable=SC2317 # called by the trap
finish() {
	[ -z "$daemon" ] || kill "$daemon" 2> /dev/null
	wait
	rm -rf "$private"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

fail() {
	echo "$*"
	sed 's/^/  | /' "$private/said" "$private/log" | tail -n 200
	exit 1
}

# A sandboxed worker may not look at itself.
cat > "$private/vaccel.conf" <<- END
	[sandbox]
	mode = off
	[order]
	default = reference models openssl
	[models]
	dir = $VACCEL_SOURCE/tests/suite/models
END
: > "$private/said"
# An array of no elements, which any shape has room for.
printf '\223NUMPY\1\0\074\0%-59s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }" > "$private/x.npy"
served=1 ciphers=1
for folder in $(echo "$VACCEL_PLUGIN_DIR" | tr : ' '); do
	[ ! -e "$folder/vaccel-models.so" ] || served=0
	[ ! -e "$folder/vaccel-openssl.so" ] || ciphers=0
done
"$VACCELD" --socket-path="$private/socket" --config="$private/vaccel.conf" 2> "$private/log" &
daemon=$!
for _ in $(seq 300); do
	[ ! -S "$private/socket" ] || break
	sleep 0.1
done

# ends STATUS COMMAND...: the tool ends so, having lost nothing.
ends() {
	expected=$1
	shift
	"$VACCEL" "$@" > "$private/said" 2>&1
	status=$?
	[ "$status" -eq "$expected" ] || fail "vaccel $*: status $status instead of $expected"
}

# Of a cipher: what it takes to name it.
cipher="-c aes-128-gcm -K 000102030405060708090a0b0c0d0e0f --iv 00"

# What each subcommand is called with.
arguments() {
	case $1 in
	info) echo "-t $2" ;;
	ping) echo "-t $2 -c 20" ;;
	sgemm) echo "-t $2 -m 40 -n 30 -k 20" ;;
	bench) echo "rtt -t $2 -s 1 -r 5" ;;
	plugin) echo reference ;;
	stats | models) echo "-t $2" ;;
	infer) echo "-t $2 -m echo -i $private/x.npy -o $private" ;;
	classify) echo "-t $2 -m digits -k 2 $VACCEL_SOURCE/models/digits/heldout/0-0130.png" ;;
	cipher) echo "-t $2 $cipher -o $private/cipher $private/x.npy" ;;
	*) fail "this test does not know what to call vaccel $1 with" ;;
	esac
}

commands=$("$VACCEL" --help | sed -n '/^Commands:\|Commands:$/,/^Options/ s/^  \([a-z]*\)  .*/\1/p')
[ "$(echo "$commands" | wc -w)" -ge 6 ] || fail "vaccel --help lists no commands"
for command in $commands; do
	for url in "local:$private/vaccel.conf" "shm:$private/socket"; do
		# shellcheck disable=SC2046 # words
		set -- $(arguments "$command" "$url")
		case $command-$url in
		plugin-*) ends 0 "$command" "$@" ;;
		models-* | infer-* | classify-*) ends $served "$command" "$@" && ends $served "$command" --json "$@" ;;
		cipher-*) ends $ciphers "$command" "$@" && ends $ciphers "$command" --json "$@" ;;
		*) ends 0 "$command" "$@" && ends 0 "$command" --json "$@" ;;
		esac
	done
	ends 2 "$command" --no-such-option
	case $command in
	plugin) ends 1 plugin no-such-plugin ;;
	bench) ends 3 bench rtt -t "shm:$private/nothing" ;;
	infer) ends 3 infer -m x -t "shm:$private/nothing" ;;
	classify) ends 3 classify -m x -t "shm:$private/nothing" "$private/x.npy" ;;
	cipher)
		# shellcheck disable=SC2086 # words
		ends 3 cipher $cipher -t "shm:$private/nothing" -o "$private/cipher" "$private/x.npy"
		;;
	*) ends 3 "$command" -t "shm:$private/nothing" ;;
	esac
done
# What fails half-way.
for url in "local:$private/vaccel.conf" "shm:$private/socket"; do
	ends 1 models -t "$url" absent
	ends 1 infer -t "$url" -m fails -i "$private/x.npy"
	ends 1 infer -t "$url" -m add -i a="$private/x.npy"
	ends 1 infer -t "$url" -m echo -i "$private/socket"
	ends 1 classify -t "$url" -m digits "$private/x.npy" "$private/nothing"
	# shellcheck disable=SC2086 # words
	ends 1 cipher $cipher -t "$url" -d -o "$private/plain" "$private/x.npy"
done
ends 0 --version
ends 2 no-such-command

kill "$daemon"
wait "$daemon"
status=$?
daemon=
[ $status -eq 0 ] || fail "vacceld: status $status"
grep -q 'worker: no memory was lost' "$private/log" || fail "vacceld's worker did not look for lost memory, or found some"
! grep -q LeakSanitizer "$private/log" || fail "vacceld lost memory"
