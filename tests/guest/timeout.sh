#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A guest that does not end is ended, with a status of its own, and leaves what it had written.
. "$(dirname "$0")/lib.sh"
can_run
# long enough for a boot on a busy machine
case $kind in
uml) limit=20 ;;
*) limit=45 ;;
esac

# shellcheck disable=SC2016 # for the guest's shell
guest --timeout "$limit" --out out -- sh -c 'echo begun; echo kept > "$VACCEL_GUEST_OUT/file"; sleep 1000' > stdout 2> stderr
equal "exit status" 124 $?
equal "output until then" begun "$(cat stdout)"
equal "file until then" kept "$(cat out/file)"
grep -q "did not end within $limit s" stderr || fail "nothing says so: $(cat stderr)"
rm -r out stdout stderr prepare.err
equal "what is left behind" "" "$(ls -A)"
