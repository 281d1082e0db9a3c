# SPDX-License-Identifier: Apache-2.0
"""The work of tools/demo crypto: a guest whose stock driver has a file encrypted by the host, and openssl, which reads it."""

import argparse
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

import demo
from demo import Failure, TOP, run, say

CONFIGURATION = "[engine]\nqueues = 1\n\n[order]\ndefault = openssl\n"
PIECE = 65536
NOTE = "The guest's processor is emulated: what it does itself is many times slower than it would be on a real one."


def parse_arguments():
    parser = argparse.ArgumentParser(prog="demo crypto", allow_abbrev=False)
    parser.add_argument("--guest", choices=["qemu", "uml"], default="qemu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.build = pathlib.Path(os.environ.get("VACCEL_BUILD_DIR") or TOP / "build").absolute()
    options.seconds = 0.3 if options.quick else 2
    options.size = (1 << 20) + 5 if options.quick else (16 << 20) + 5
    return options


def openssl_speed(seconds):
    """MB/s of `openssl speed`, by this processor's own instructions."""
    rows = {}
    for word, more in (("encrypt", []), ("decrypt", ["-decrypt"])):
        said = run(["openssl", "speed", "-mr", "-elapsed", "-seconds", max(1, round(seconds)), "-bytes", PIECE, *more, "-evp",
                    "aes-128-cbc"], "measure openssl", stderr=subprocess.STDOUT)
        match = re.search(r"^\+F:\d+:[^:]*:([\d.]+)", said, re.M)
        if not match:
            raise Failure(f"cannot measure openssl: it said\n{said}")
        rows[word] = float(match[1]) / 1e6
    return rows


def in_guest(options, work, daemon, key, iv):
    """What the guest said."""
    share = work / "out"
    words = [TOP / "tools/guest", f"--kind={options.guest}", "--crypto", daemon.socket, "--queues", "1", "--timeout", "280",
             "--out", share, "--", "/bin/sh", "-c", 'exec /usr/bin/python3 -B "$1" "$2" "$VACCEL_GUEST_OUT/encrypted" "$3" "$4" "$5"',
             "sh", TOP / "tools/lib/demo_crypto_guest.py", work / "plain", key, iv, options.seconds]
    return json.loads(run(words, "encrypt in the guest")), share / "encrypted"


def demonstrate(options, work):
    key, iv = secrets.token_hex(16), secrets.token_hex(16)
    (work / "vaccel.conf").write_text(CONFIGURATION)
    (work / "plain").write_bytes(secrets.token_bytes(options.size))
    describe = json.loads(run([TOP / "tools/guest", f"--kind={options.guest}", "--describe"], "describe the guest"))
    daemon = demo.Daemon(options.build, work, work / "vaccel.conf", ["--device=crypto"])
    try:
        say("booting the guest")
        said, encrypted = in_guest(options, work, daemon, key, iv)
    finally:
        daemon.stop()
    say("measuring openssl on the host")
    host = openssl_speed(options.seconds)
    run(["openssl", "enc", "-d", "-aes-128-cbc", "-K", key, "-iv", iv, "-in", encrypted, "-out", work / "read"], "read it back")
    if not said["back"] or (work / "read").read_bytes() != (work / "plain").read_bytes():
        raise Failure("what came back is not what was encrypted")
    return {"guest": describe, "size": options.size, "registered": said["registered"], "read_by_openssl": True,
            "mb_per_s": {"host openssl": host, "guest device": said["virtio_crypto_aes_cbc"],
                         "guest kernel": said["cbc(aes-generic)"]}}


def print_table(result):
    guest, row = result["guest"], result["registered"]
    emulated = ", emulated" if guest["acceleration"] == "TCG" else ""
    print(f"In the guest, /proc/crypto: {row['name']}, driver {row['driver']} of module {row['module']}, self-test {row['selftest']}.")
    print(f"A file of {result['size']} bytes was encrypted and decrypted there, and `openssl enc -d` on the host reads it.\n")
    print(f"AES-128-CBC, pieces of {PIECE >> 10} KiB, one at a time {'':<14} {'encrypt MB/s':>13} {'decrypt MB/s':>13}")
    for name, text in (("host openssl", "host, openssl"), ("guest device", f"guest{emulated}: AF_ALG, the device, host's openssl"),
                       ("guest kernel", f"guest{emulated}: AF_ALG, the kernel's own code")):
        speeds = result["mb_per_s"][name]
        print(f"{text:<58} {speeds['encrypt']:>13.1f} {speeds['decrypt']:>13.1f}")
    print(f"\nProduced by {guest['vmm']} {guest['vmm_version']}, guest kernel {guest['kernel']}, acceleration {guest['acceleration']}."
          + (f" {NOTE}" if emulated else ""))


def main():
    options = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, demo.stop)
    say("preparing the guest: kernel and VMM")
    run([TOP / "tools/guest", f"--kind={options.guest}", "--prepare"], "prepare the guest")
    demo.build(options.build, False)
    if not (options.build / "plugins/openssl/vaccel-openssl.so").exists():
        raise Failure("the plugin openssl was not built: libcrypto 3 (libssl-dev) is missing")
    os.environ["VACCEL_PLUGIN_DIR"] = str(options.build / "plugins/openssl")
    work = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-demo."))
    try:
        result = demonstrate(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(demo.guarded(main))
