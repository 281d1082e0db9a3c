# SPDX-License-Identifier: Apache-2.0
"""What tools/demo crypto runs in its guest: Python's own sockets, which reach Linux's own driver.

usage: demo_crypto_guest.py PLAIN ENCRYPTED KEY IV SECONDS

Encrypts the file PLAIN as ENCRYPTED and decrypts that again, as `openssl enc -aes-128-cbc` would, with the driver of the
device; then measures that driver, and the kernel's own code on the guest's processor. Prints one JSON object.
"""

import json
import pathlib
import socket
import sys
import time

DEVICE, PORTABLE = "virtio_crypto_aes_cbc", "cbc(aes-generic)"
BLOCK = 16
PIECE = 64 * 1024


def crypt(driver, encrypt, key, iv, data):
    """The whole message, in pieces: the kernel keeps what one chains to the next."""
    result = memoryview(bytearray(len(data)))
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as algorithm:
        algorithm.bind(("skcipher", driver))
        algorithm.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, key)
        with algorithm.accept()[0] as running:
            for at in range(0, len(data), PIECE):
                piece = data[at:at + PIECE]
                more = socket.MSG_MORE if at + len(piece) < len(data) else 0
                if at:
                    running.send(piece, more)
                else:
                    operation = socket.ALG_OP_ENCRYPT if encrypt else socket.ALG_OP_DECRYPT
                    running.sendmsg_afalg([piece], op=operation, iv=iv, flags=more)
                got = 0
                while got < len(piece):
                    got += running.recv_into(result[at + got:at + len(piece)])
    return bytes(result)


def pad(data):
    missing = BLOCK - len(data) % BLOCK
    return data + bytes([missing]) * missing


def speed(driver, encrypt, key, iv, data, seconds):
    """MB/s."""
    begin, turns = time.monotonic(), 0
    while time.monotonic() - begin < seconds or not turns:
        crypt(driver, encrypt, key, iv, data)
        turns += 1
    return len(data) * turns / (time.monotonic() - begin) / 1e6


def registered(driver):
    """Its row in /proc/crypto, the lines that tell of it."""
    for row in pathlib.Path("/proc/crypto").read_text().split("\n\n"):
        fields = dict((part.strip() for part in line.partition(":")[::2]) for line in row.splitlines())
        if fields.get("driver") == driver:
            return {name: fields[name] for name in ("name", "driver", "module", "priority", "selftest")}
    raise SystemExit(f"/proc/crypto has no {driver}")


def main(plain, encrypted, key, iv, seconds):
    key, iv, seconds = bytes.fromhex(key), bytes.fromhex(iv), float(seconds)
    said = {"registered": registered(DEVICE)}
    data = pathlib.Path(plain).read_bytes()
    result = crypt(DEVICE, True, key, iv, pad(data))
    pathlib.Path(encrypted).write_bytes(result)
    back = crypt(DEVICE, False, key, iv, result)
    said["back"] = back[:-back[-1]] == data
    for driver in (DEVICE, PORTABLE):
        said[driver] = {word: speed(driver, word == "encrypt", key, iv, result, seconds) for word in ("encrypt", "decrypt")}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
