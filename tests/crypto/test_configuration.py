#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the system's configuration of OpenSSL names is not loaded into a worker: nobody so much as opens that file.

The daemon runs in a mount namespace whose openssl.cnf is one of this test's, which is watched. That the watch sees who
reads it is shown with openssl(1). From the environment: VACCEL, VACCELD, VACCEL_PLUGIN_DIR. Needs root, and ends with
77 where there is no namespace to be had.
"""

import ctypes
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time

VACCEL, VACCELD = (os.environ[name] for name in ("VACCEL", "VACCELD"))
STUCK = 60
IN_OPEN = 0x20


def skip(reason):
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(77)


def system_configuration():
    """The file that libcrypto reads where nothing else is said."""
    said = subprocess.run(["openssl", "version", "-d"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return (pathlib.Path(said.split('"')[1]) / "openssl.cnf").resolve()


def among(mounted, place, *words):
    """The command that runs words where mounted lies at place."""
    script = f"mount --bind {shlex.quote(str(mounted))} {shlex.quote(str(place))} && exec {shlex.join(map(str, words))}"
    return ["unshare", "--mount", "sh", "-c", script]


class Watch:
    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def seen(self):
        """Whether somebody has opened it since the last call."""
        try:
            return bool(os.read(self.fd, 4096))
        except BlockingIOError:
            return False


def encrypt(folder, sock):
    """Returns when the worker's libcrypto has done all that it does at a first request."""
    (folder / "text").write_bytes(bytes(4096))
    until = time.monotonic() + STUCK
    while not sock.exists():
        if time.monotonic() > until:
            sys.exit("the daemon does not come")
        time.sleep(0.02)
    subprocess.run([VACCEL, "cipher", f"--transport=shm:{sock}", "-e", "-c", "aes-128-cbc", "-K", "00" * 16,
                    "--iv", "00" * 16, "-o", folder / "secret", folder / "text"], check=True, timeout=STUCK)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        place = system_configuration()
        own, sock = folder / "openssl.cnf", folder / "sock"
        own.write_text("openssl_conf = all\n[all]\nproviders = list\n[list]\ndefault = default\n"
                       "[default]\nactivate = 1\n")
        environment = {key: value for key, value in os.environ.items() if key != "OPENSSL_CONF"}
        if subprocess.run(among(own, place, "true"), stderr=subprocess.DEVNULL, check=False).returncode:
            skip("no mount namespace is to be had")
        watch = Watch(own)
        subprocess.run(among(own, place, "openssl", "list", "-providers"), stdout=subprocess.DEVNULL, env=environment,
                       check=True)
        assert watch.seen(), "the watch does not see openssl(1) read it"
        # Without a sandbox, which would not let it, either.
        words = [VACCELD, "--config=", "--set=sandbox.mode=off", "--set=order.default=openssl",
                 f"--socket-path={sock}"]
        with subprocess.Popen(among(own, place, *words), env=environment) as daemon:
            try:
                encrypt(folder, sock)
            finally:
                daemon.send_signal(signal.SIGTERM)
        assert not watch.seen(), f"the worker reads {place}"
    print("ok")


if __name__ == "__main__":
    main()
