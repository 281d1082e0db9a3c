#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest with the crypto device and nothing of ours but test programs: Linux's own driver has to find all it asks for.

usage: test_guest.py qemu|uml|cryptodev|cryptodev-7.2 SECONDS KILLS

In one boot: /proc/crypto lists the driver with its self-tests passed; NIST's vectors; files that `openssl enc` reads and
wrote; RSA, where the front-end offers it and the kernel has a way to it; then eight processes at once for so many seconds
while the worker is killed so many times. Ciphers are asked for by the driver's name, and the daemon counted what it did.
qemu and uml: generic vhost-user devices, whose control queue is the daemon's; cryptodev: QEMU's own front-end.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fault"))
# pylint: disable=wrong-import-position
import fixture
import witness
from fixture import Daemon, Side

HERE = pathlib.Path(__file__).resolve().parent
CIPHER, RSA = (os.environ.get(name, "") for name in ("VACCEL_KERNEL_CIPHER", "VACCEL_KERNEL_RSA"))
DRIVER = "virtio_crypto_aes_cbc"
PROCESSES = 8
QUEUES = 2
KEY, IV = bytes(range(0x40, 0x60)).hex(), bytes(range(0xf0, 0x100)).hex()
# Of files: nothing, parts of blocks, whole ones, parts of pages, more than a socket takes at once.
SIZES = [0, 1, 15, 16, 17, 4080, 4095, 4096, 4097, 65535, 65536, 65552, 100003, 1 << 20, (3 << 20) + 5]
RSA_BITS = [1024, 2048, 4096]
# As long as a slow machine with an emulated guest may take for one step.
LIMIT = 300
CONFIGURATION = f"""[engine]
queues = {QUEUES}
[order]
default = openssl
"""
# The guest's kernel may be asked to do itself what the device does not offer.
FLAVOURS = {
    "qemu": {"kind": "qemu", "words": ["--crypto"], "rsa": True},
    # Without keys of type asymmetric.
    "uml": {"kind": "uml", "words": ["--crypto"], "rsa": False},
    "cryptodev": {"kind": "qemu", "words": ["--cryptodev"], "rsa": False},
    "cryptodev-7.2": {"kind": "qemu", "words": ["--qemu=7.2", "--cryptodev"], "rsa": False},
}


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, stdin=subprocess.DEVNULL)


def enc(source, target, *more):
    openssl("enc", "-aes-256-cbc", "-K", KEY, "-iv", IV, "-in", source, "-out", target, *more)


def make_inputs(folder, rsa):
    """Files and what openssl made of them; keys of RSA."""
    dice = random.Random(1)
    folder.mkdir()
    for number, size in enumerate(SIZES):
        plain = folder / f"{number:02}.plain"
        plain.write_bytes(dice.randbytes(size))
        enc(plain, plain.with_suffix(".enc"))
    for bits in RSA_BITS if rsa else []:
        pem = folder / f"{bits}.pem"
        openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}", "-out", pem)
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", pem, "-outform", "DER", "-out", pem.with_suffix(".der"))


def vectors():
    """Files of them: the examples of SP 800-38A, and those of CAVP if they can be had."""
    done = subprocess.run([HERE / "vectors"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"without CAVP's vectors: {done.stderr.strip()}")
        return [HERE / "sp800-38a"]
    return [HERE / "sp800-38a", pathlib.Path(done.stdout.strip(), "aes")]


class Guest(Side):
    """Runs programs there, whose last lines it returns."""

    def ask(self, script):
        """What it printed, in lines. Fails when it failed."""
        mark = self.n_scripts
        end = self.send(f"echo 'begin {mark}'; {{ {script}\n}} 2>&1; echo \"end {mark} $?\"")
        self.expect(end, LIMIT)
        lines = [line for line in self.lines]
        said = lines[lines.index(f"begin {mark}") + 1:]
        last = next(line for line in said if line.startswith(f"end {mark} "))
        said = said[:said.index(last)]
        assert last == f"end {mark} 0", "\n".join([script, last, *said])
        return said


def algorithms(guest):
    """The rows of /proc/crypto, by driver."""
    rows, row = {}, {}
    for line in guest.ask("cat /proc/crypto"):
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "name":
            row = {}
        row[name] = value
        if name == "driver":
            rows[value] = row
    return rows


def check_registered(guest, flavour):
    rows = algorithms(guest)
    wanted = {DRIVER: "cbc(aes)"}
    if flavour["rsa"] or flavour["kind"] == "uml":
        wanted |= {"virtio-crypto-rsa": "rsa", "virtio-pkcs1-rsa": "pkcs1pad(rsa)"}
    for driver, name in wanted.items():
        row = rows.get(driver)
        assert row, f"/proc/crypto has no {driver}, but {sorted(rows)}"
        assert row["name"] == name and row["module"] == "virtio_crypto" and row["selftest"] == "passed", row


def check_files(guest, inputs):
    """The guest compares with what openssl wrote; what the guest wrote, openssl reads."""
    guest.ask(f"mkdir -p $VACCEL_GUEST_OUT/files && {CIPHER} {DRIVER} files {inputs} $VACCEL_GUEST_OUT/files {KEY} {IV} 4")
    for number in range(len(SIZES)):
        back = inputs / "back"
        enc(guest.out / f"files/{number:02}.enc", back, "-d")
        assert back.read_bytes() == (inputs / f"{number:02}.plain").read_bytes(), f"{SIZES[number]} bytes differ"


def check_storm(guest, daemon, seconds, kills):
    """Nothing hangs or fails while workers die."""
    guest.run(f"{{ {CIPHER} {DRIVER} storm {seconds} {PROCESSES}; echo \"storm status $?\"; }} 2>&1 &")
    for _ in range(kills):
        time.sleep(seconds / (kills + 1))
        daemon.kill_worker()
    assert guest.expect(r"^storm status (\d+)$", seconds + LIMIT)[1] == "0", "\n".join(guest.lines[-20:])
    return guest.find(r"processes, .* all right$")[-1].string


def counts(daemon):
    """Requests that the daemon answered, by name."""
    said = subprocess.run([fixture.VACCEL, "stats", "--json", "--metrics", f"unix:{daemon.folder}/metrics"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    total = {}
    for guest in json.loads(said)["guests"]:
        for row in guest["ops"]:
            total[row["op"]] = total.get(row["op"], 0) + row["requests"]
    return total


def check_guest(guest, daemon, flavour, inputs, seconds, kills):
    check_registered(guest, flavour)
    print(guest.ask(f"{CIPHER} {DRIVER} vectors {' '.join(map(str, vectors()))}")[-1])
    check_files(guest, inputs)
    if flavour["rsa"]:
        before = counts(daemon).get("akcipher", 0)
        guest.ask(f"{RSA} {' '.join(str(inputs / f'{bits}.der') for bits in RSA_BITS)}")
        # Eleven operations that reach a key, with each of them.
        asked = counts(daemon).get("akcipher", 0) - before
        assert asked >= 11 * len(RSA_BITS), f"the device was asked for {asked} operations with RSA"
    print(check_storm(guest, daemon, seconds, kills))
    asked = counts(daemon)
    assert asked.get("cipher", 0) > 100, asked


def main(name, seconds, kills):
    flavour = FLAVOURS[name]
    folder = witness.scratch("vaccel-crypto.")
    daemon = guest = None
    words = [word for word in flavour["words"] if word.startswith("--qemu=")]
    prepared = subprocess.run([fixture.SOURCE / "tools/guest", f"--kind={flavour['kind']}", *words, "--prepare"],
                              stderr=subprocess.PIPE, text=True, check=False)
    if prepared.returncode:
        fixture.skip(f"no guest can be prepared here: {prepared.stderr.strip().splitlines()[-1]}")
    try:
        make_inputs(folder / "inputs", flavour["rsa"])
        daemon = Daemon(folder, "main", options=["--device=crypto", "--restart-delay=0"],
                        text=CONFIGURATION + f"[metrics]\nlisten = unix:{folder}/main/metrics\n")
        guest = Guest(flavour["kind"], folder, [daemon], None,
                      [*flavour["words"], daemon.socket, f"--queues={QUEUES}"])
        check_guest(guest, daemon, flavour, folder / "inputs", seconds, kills)
        assert guest.stop() == 0, "the guest ended badly (123: its kernel warned)"
        said = daemon.said()
        assert said.count("died of signal 9") == kills, said
    finally:
        if guest:
            guest.stop()
        if daemon:
            status, left = daemon.stop()
        shutil.rmtree(folder)
    assert status == 0 and not left, (status, left)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in FLAVOURS:
        sys.exit(__doc__)
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCELD, CIPHER, RSA)):
        fixture.skip("VACCELD, VACCEL_KERNEL_CIPHER or VACCEL_KERNEL_RSA names no program")
    witness.limit(840)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
