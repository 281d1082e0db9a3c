# SPDX-License-Identifier: Apache-2.0
"""What tools/guest and tools/module are made of: guests for tests, and modules built for them.

cache.py    things that are made once and kept in the user's cache folder
debian.py   packages fetched and unpacked there, never installed
kernels.py  guest kernels, their initramfs, headers to build modules against
umldebug.py a User-Mode Linux kernel that checks what runs in it, compiled here
modules.py  our driver built for a kernel
qemu.py     guests under QEMU, uml.py guests under User-Mode Linux: each yields a command line
landlock.py keeps a VMM from changing the host's files
guest.py    runs such a command line: streams, time limit, status, what the guest's kernel said
init        what runs first in a guest, kept in its initramfs
"""


class Failure(Exception):
    """The tool cannot do what was asked; the text names object, action and cause."""
