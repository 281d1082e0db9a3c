# SPDX-License-Identifier: Apache-2.0
"""Takes from a process the right to change files but below some paths, where the host's kernel has Landlock.

User-Mode Linux is why: its guest's root may mount any folder of the host's for writing, as the user that started it.
"""

import ctypes
import os
import struct

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_VERSION = 1
RULE_PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
FOLDERS_ONLY = sum(1 << bit for bit in range(4, 13)) | REFER  # removing and making entries


def _syscall(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def writes_only_below(paths):
    """For this process and its children, from now on. Returns whether the kernel could do it."""
    try:
        version = _syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(CREATE_VERSION))
    except OSError:
        return False
    handled = WRITE_FILE | FOLDERS_ONLY | TRUNCATE
    if version < 2:
        handled &= ~REFER
    if version < 3:
        handled &= ~TRUNCATE
    ruleset = _syscall(CREATE_RULESET, struct.pack("<Q", handled), ctypes.c_size_t(8), ctypes.c_uint(0))
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = handled if os.path.isdir(path) else handled & ~FOLDERS_ONLY
        _syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(RULE_PATH_BENEATH),
                 struct.pack("<Qi", rights, descriptor), ctypes.c_uint(0))
        os.close(descriptor)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)
    return True
