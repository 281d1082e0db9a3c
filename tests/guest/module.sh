#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/module builds a module for the guest's kernel, --module loads it with its parameters, and refuses what is none.
. "$(dirname "$0")/lib.sh"
can_run

case $kind in
uml) kernel=uml ;;
*) kernel=debian ;;
esac
mkdir -p driver include/uapi
echo 'obj-m := sample.o' > driver/Kbuild
echo '#define SAMPLE_NAME "sample0"' > include/uapi/sample.h
cat > driver/sample.c <<'EOF'
// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include "../include/uapi/sample.h"

static int number;
module_param(number, int, 0444);
static const struct file_operations sample_fops = { .owner = THIS_MODULE };
static struct miscdevice sample = { .minor = MISC_DYNAMIC_MINOR, .name = SAMPLE_NAME, .fops = &sample_fops };
module_misc_device(sample);
MODULE_DESCRIPTION("test of tools/module");
MODULE_LICENSE("Dual BSD/GPL");
EOF
find driver include | sort > before
module=$("$top/tools/module" --source driver --kernel "$kernel" --out built 2> stderr) || {
	grep -q 'cannot \(download\|fetch\)' stderr && skip "no headers can be had here: $(cat stderr)"
	fail "cannot build: $(cat stderr)"
}
equal "path of the module" "$private/built/sample.ko" "$module"
find driver include | sort > after
cmp before after || fail "the build left something in the source tree"

said=$(guest --module "$module number=42" -- sh -c \
	'test -c /dev/sample0 && cat /sys/module/sample/parameters/number') || fail "status $?"
equal "the module's parameter" 42 "$said"

echo 'no module' > broken.ko
guest --module broken.ko -- true 2> stderr
equal "status with a broken module" 125 $?
grep -q 'cannot load module broken.ko' stderr || fail "nothing says why: $(cat stderr)"

sed -i 's/sample_fops }/no_such_name }/' driver/sample.c
if "$top/tools/module" --source driver --kernel "$kernel" > stdout 2> stderr; then
	fail "a module with an error was built"
fi
grep -q no_such_name stderr || fail "the compiler's error is not shown: $(cat stderr)"
