#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the guest's kernel complains about fails a run that would have passed; a crash ends it.
. "$(dirname "$0")/lib.sh"
can_run

guest -- sh -c 'echo "WARNING: CPU: 0 PID: 1 at made/up.c:1" > /dev/kmsg' 2> stderr
equal "status after a warning" 123 $?
grep -q 'kernel warned.*made/up.c' stderr || fail "the warning is not shown: $(cat stderr)"

guest --allow-warnings -- sh -c 'echo "WARNING: CPU: 0 PID: 1 at made/up.c:1" > /dev/kmsg; exit 5' 2> stderr
equal "status with warnings allowed" 5 $?

guest -- sh -c 'echo begun; echo c > /proc/sysrq-trigger; sleep 1000' > stdout 2> stderr
equal "status after a crash" 123 $?
equal "output before a crash" begun "$(cat stdout)"
grep -q 'Kernel panic' stderr || fail "the crash is not shown: $(cat stderr)"
