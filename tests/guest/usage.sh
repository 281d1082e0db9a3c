#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Wrong usage is refused with its reason before anything is started, and the help names every option.
. "$(dirname "$0")/lib.sh"

# refused PATTERN ARGUMENT...
refused() {
	pattern=$1
	shift
	guest "$@" > stdout 2> stderr
	equal "status of: $*" 125 $?
	grep -q -e "$pattern" stderr || fail "the reason of refusing $* is not given: $(cat stderr)"
	equal "output of: $*" "" "$(cat stdout)"
}

refused 'COMMAND is missing'
refused 'COMMAND is missing' --
refused 'unexpected COMMAND' --describe -- true
refused 'unrecognized arguments: --no-such' --no-such -- true
refused "'x' is not a number" --timeout x -- true
refused "'-1' is not a number\|expected one argument" --timeout -1 -- true
refused "'0' is not a number" --queues 0 -- true
refused "'257' is not a number" --config-size 257 -- true
refused "NAME=VALUE" --env 'a b=c' -- true
refused "NAME=VALUE" --env word -- true
refused 'invalid choice' --accel warp -- true
refused 'invalid choice' --kind vmware -- true
refused 'invalid choice' --qemu 7.1 -- true

can_run
refused 'no such socket' --device "$private/absent" -- true
refused 'no such socket' --crypto "$private/absent" -- true
refused 'cannot take module' --module "$private/absent.ko" -- true
case $kind in
uml)
	refused 'User-Mode Linux has one' --cpus 2 -- true
	refused 'User-Mode Linux has its own' --cryptodev "$private/absent" -- true
	;;
*)
	refused "cannot choose kernel 'newest'" --kernel newest -- true
	refused 'QEMU 7.2 lacks' --qemu 7.2 --device "$private/absent" -- true
	;;
esac

guest --describe > described || fail "--describe: status $?"
python3 -c '
import json, sys
said = json.load(open("described"))
assert sorted(said) == ["acceleration", "kernel", "kind", "vmm", "vmm_version"], said
assert said["kind"] == sys.argv[1], said
assert said["acceleration"] in {"qemu": ("KVM", "TCG"), "uml": ("UML",)}[sys.argv[1]], said
assert all(said.values()), said' "$kind" || fail "--describe says $(cat described)"
equal "the kernel that runs" "$(sed 's/.*"kernel": "\([^"]*\)".*/\1/' described)" "$(guest -- uname -r)"

guest --help > help || fail "--help: status $?"
# shellcheck disable=SC2013 # options are words
for option in $(sed -n 's/^    add("\(--[a-z-]*\)".*/\1/p' "$top/tools/guest"); do
	grep -q -e "$option" help || fail "--help does not name $option"
done
