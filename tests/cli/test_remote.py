#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ends of the line that are not there or not ours, and every command over a daemon's socket."""

import os
import shutil
import socket
import subprocess

import fixture
from fixture import NO_CONNECTION

COMMANDS = (["info"], ["ping"], ["sgemm"], ["bench", "sgemm"], ["bench", "rtt"], ["stats"], ["models"],
            ["infer", "-m", "x"], ["classify", "-m", "x", "a.png"],
            ["cipher", "-c", "aes-128-ecb", "--key", "00" * 16, "-o", "x", "/dev/null"])


class NoConnection(fixture.Test):
    def refused(self, url, code, *words, **options):
        for command in COMMANDS:
            with self.subTest(command):
                self.fails(*command, "-t", url, status=NO_CONNECTION, code=code,
                           says=[f"vaccel {command[0]}: transport {url}: ", *words], **options)

    def test_unknown_transport(self):
        self.refused("pigeon:/x", ("EINVAL", "EPROTONOSUPPORT", "ENOENT"), "not known")
        self.refused("nonsense", ("EINVAL", "EPROTONOSUPPORT", "ENOENT"), "not known")

    def test_no_daemon(self):
        self.refused(f"shm:{self.folder}/absent.sock", "ENOENT", "cannot connect", "(ENOENT)")

    def test_dead_daemon(self):
        path = self.folder / "dead.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        self.refused(f"shm:{path}", "ECONNREFUSED", "cannot connect", "(ECONNREFUSED)")

    def test_no_device(self):
        self.refused(f"virtio:{self.folder}/vaccel0", ("ENOENT", "ENODEV"), "cannot open the device")

    def test_not_a_device(self):
        self.refused("virtio:/dev/null", ("ENOTTY", "ENODEV", "EINVAL"), "not a vaccel device")

    def test_no_permission(self):
        path = self.folder / "closed.sock"
        prefix = []
        if os.geteuid() == 0:
            prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            if not shutil.which("setpriv"):
                self.skipTest("root, and setpriv is not installed")
            if subprocess.run([*prefix, fixture.PROGRAM, "--version"], capture_output=True, check=False).returncode:
                self.skipTest("root, and the program is where nobody else may run it")
            self.folder.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            path.chmod(0)
            self.refused(f"shm:{path}", "EACCES", "cannot connect", "(EACCES)", prefix=prefix)


class Daemon(fixture.Test):
    def setUp(self):
        super().setUp()
        self.url = self.start_daemon()

    def test_commands(self):
        said = self.json("info", "-t", self.url)
        self.assertEqual(said["transport"], self.url)
        self.assertNotIn("plugin_failures", said)
        self.assertEqual({row["name"]: row["plugin"] for row in said["ops"]}["sgemm"], "reference")
        self.assertEqual(self.json("ping", "-c", 9, "-t", self.url)["count"], 9)
        for arguments in ([], ["--plain"], ["--double", "--order", "col", "--transa", "--beta", 2]):
            said = self.json("sgemm", "-t", self.url, "-m", 70, "-n", 30, "-k", 50, *arguments)
            self.assertEqual(said["verified"]["checked"], 70 * 30)

    def test_bench(self):
        for memory in ("--plain", "--registered"):
            said = self.json("bench", "sgemm", "-t", self.url, "--against", self.local, "--sizes", "16,32", memory,
                             "--repeat", 5)
            self.assertEqual(list(said["ratios"]), ["shm_over_local_16", "shm_over_local_32"])
            self.assertEqual([side["name"] for side in said["sides"]], ["shm", "local"])
        said = self.json("bench", "rtt", "-t", self.url, "--against", "none", "--sizes", "1,8", "--repeat", 5)
        self.assertEqual(len(said["rows"]), 2)

    def test_bad_dimensions(self):
        self.fails("sgemm", "-t", self.url, "--lda", 3, status=fixture.FAILED, code="EINVAL",
                   says=["vaccel sgemm: ", "lda"])
        self.json("sgemm", "-t", self.url, "-m", 8, "-n", 8, "-k", 8)


if __name__ == "__main__":
    fixture.main()
