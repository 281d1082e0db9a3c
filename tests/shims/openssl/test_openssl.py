#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The provider in programs that know nothing of it: openssl(1), and `use`, which has OpenSSL's functions only.

From the environment, beside what tests/cli/fixture.py wants: USE (the program), OPENSSL_MODULES (where the provider is),
OPENSSL_PLUGIN (the plugin of which plugin `some` serves a part), VECTORS (files of test vectors, with colons between them),
SANITIZED (if the build is).
"""

import base64
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cli"))
import fixture  # pylint: disable=wrong-import-position

USE = os.environ.get("USE", "use")
OPENSSL = shutil.which("openssl")
# A module of a sanitized build cannot be loaded into a program that is not of it.
SANITIZED = os.environ.get("SANITIZED")
STUCK = 120
PROBES = 10  # requests for the operation with which a process begins: one for each mode and direction
IV = "000102030405060708090a0b0c0d0e0f"
PROVIDERS = ["-provider", "vaccel", "-provider", "default"]
PREFERRED = [*PROVIDERS, "-propquery", "?provider=vaccel"]
SIZES = (0, 1, 15, 16, 17, 47, 48, 64, 4095, 4096, 8191, 8193, 65536, 300001, 2097152 + 5)
ALL = [f"AES-{bits}-{mode}" for mode in ("ECB", "CBC", "CTR", "GCM") for bits in (128, 192, 256)] + [
    "AES-128-XTS", "AES-256-XTS"]
KEYS = {"backup": ("aes-256-cbc", "encrypt decrypt"), "archive": ("aes-256-cbc", "encrypt"),
        "reader": ("aes-256-cbc", "decrypt"), "seal": ("aes-128-gcm", "encrypt decrypt"),
        "open": ("aes-128-gcm", "decrypt"), "stream": ("aes-256-ctr", "encrypt decrypt"),
        "disk": ("aes-256-xts", "encrypt decrypt"), "blocks": ("aes-128-ecb", "encrypt decrypt")}
LENGTHS = {"aes-256-cbc": 32, "aes-128-gcm": 16, "aes-256-ctr": 32, "aes-256-xts": 64, "aes-128-ecb": 16}
# What docs/openssl.md has programs configure.
CONFIGURATION = """openssl_conf = start
[start]
providers = providers
alg_section = algorithms
[providers]
default = default_section
vaccel = vaccel_section
[default_section]
activate = 1
[vaccel_section]
activate = 1
{settings}
[algorithms]
default_properties = ?provider=vaccel
"""


class Provider(fixture.Test):
    """A daemon with keys, and the provider, which forwards from 48 bytes on."""

    order = "openssl reference"

    def setUp(self):
        super().setUp()
        self.keys = {}
        self.environment = {name: value for name, value in os.environ.items() if name != "VACCEL_TRANSPORT"}
        self.environment.update(HOME=str(self.folder), OPENSSL_CONF="/dev/null", VACCEL_OPENSSL_THRESHOLD="48",
                                VACCEL_OPENSSL_KEYS=" ".join([*KEYS, "nothing"]))
        text = f"[order]\ndefault = {self.order}\n[metrics]\nlisten = unix:{self.folder}/metrics\n"
        archive = None
        for name, (cipher, allow) in KEYS.items():
            self.keys[name] = secrets.token_bytes(LENGTHS[cipher])
            if cipher == "aes-256-cbc":
                self.keys[name] = archive = archive or self.keys[name]
            if cipher == "aes-128-gcm":
                self.keys[name] = self.keys["seal"]
            path = self.folder / f"key-{name}"
            path.write_bytes(self.keys[name])
            path.chmod(0o600)
            text += f"[key {name}]\nfile = {path}\ncipher = {cipher}\nallow = {allow}\n"
        self.config.write_text(text)
        self.begin()

    def begin(self):
        self.environment["VACCEL_TRANSPORT"] = self.start_daemon()

    def run_it(self, *words, data=b"", status=0, **environment):
        """Standard output of a program that has to end so, and with status None its whole answer."""
        done = subprocess.run([*map(str, words)], input=data, capture_output=True, cwd=self.folder, check=False,
                              timeout=STUCK, env={**self.environment, **environment})
        if status is None:
            return done
        self.assertEqual(done.returncode, status, f"status of {words}: {done.stdout[-500:]}{done.stderr}")
        return done.stdout

    def openssl(self, *words, **options):
        if SANITIZED:
            self.skipTest("openssl(1) cannot load modules of a sanitized build")
        return self.run_it(OPENSSL, *words, **options)

    def forwarded(self):
        """How many requests for the operation the daemon has counted."""
        with socket.socket(socket.AF_UNIX) as metrics:
            metrics.settimeout(STUCK)
            metrics.connect(str(self.folder / "metrics"))
            metrics.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            text = metrics.makefile("rb").read().decode()
        return sum(int(float(n)) for n in re.findall(r'^vaccel_requests_total\{[^}]*op="cipher"[^}]*\} (\S+)$', text, re.M))


class Commands(Provider):
    def setUp(self):
        super().setUp()
        self.openssl("version")

    def test_offered(self):
        said = self.openssl("list", "-cipher-algorithms", "-verbose", *PROVIDERS).decode()
        for name in ALL:
            self.assertRegex(said.lower(), rf"\b{name.lower()}\b[^@\n]*@ vaccel")
        for name in KEYS:
            self.assertIn(f"vaccel-{name} @ vaccel", said)
        self.assertNotIn("vaccel-nothing", said)

    def test_files(self):
        """What one of the two has encrypted the other decrypts, and they encrypt to the same."""
        before = self.forwarded()
        for name in ("aes-128-cbc", "aes-256-cbc", "aes-192-ctr", "aes-128-ecb"):
            key = secrets.token_hex(int(name[4:7]) // 8)
            words = ["enc", f"-{name}", "-K", key, *(["-iv", IV] if "ecb" not in name else [])]
            for size in SIZES:
                with self.subTest(name=name, size=size):
                    clear = secrets.token_bytes(size)
                    coded = self.openssl(*words, *PREFERRED, data=clear)
                    self.assertEqual(coded, self.openssl(*words, data=clear))
                    self.assertEqual(self.openssl(*words, "-d", *PREFERRED, data=coded), clear)
        # Of nine sizes in fifteen there is something to forward.
        runs = 4 * 2 * len(SIZES)
        self.assertGreater(self.forwarded(), before + runs * PROBES + runs // 2)

    def test_damaged(self):
        words = ["enc", "-d", "-aes-128-cbc", "-K", "00" * 16, "-iv", IV, *PREFERRED]
        for coded in (b"", b"x" * 4096, b"x" * 4095):
            done = self.openssl(*words, data=coded, status=None)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, b"bad decrypt|wrong final block length")

    def test_speed(self):
        before = self.forwarded()
        for name in ("aes-128-cbc", "aes-256-gcm"):
            # The cipher is looked up where it stands.
            said = self.openssl("speed", *PREFERRED, "-seconds", 1, "-bytes", 16384, "-evp", name)
            self.assertIn(name.upper().encode(), said.upper())
            self.assertGreater(self.forwarded(), before + 2 * PROBES)
            before = self.forwarded()

    def test_threshold(self):
        """Smaller updates, and all with "never", are computed here."""
        words = ["enc", "-aes-128-cbc", "-K", "00" * 16, "-iv", IV, *PREFERRED]
        counts = []
        for threshold in ("never", "100000", "1"):
            before = self.forwarded()
            self.openssl(*words, data=bytes(65536), VACCEL_OPENSSL_THRESHOLD=threshold)
            counts.append(self.forwarded() - before)
        self.assertEqual(counts[0], counts[1])
        self.assertEqual(counts[0], PROBES)
        self.assertGreater(counts[2], counts[1])

    def test_settings(self):
        """From the configuration; what is wrong there is said."""
        url = self.environment.pop("VACCEL_TRANSPORT")
        for name in ("VACCEL_OPENSSL_THRESHOLD", "VACCEL_OPENSSL_KEYS"):
            self.environment.pop(name)
        path = self.folder / "openssl.cnf"
        path.write_text(CONFIGURATION.format(settings=f"transport = {url}\nthreshold = 64\nkeys = backup, seal"))
        before = self.forwarded()
        words = ["enc", "-aes-128-cbc", "-K", "00" * 16, "-iv", IV]
        coded = self.openssl(*words, data=bytes(65536), OPENSSL_CONF=str(path))
        self.assertEqual(coded, self.openssl(*words, data=bytes(65536)))
        self.assertGreater(self.forwarded(), before + PROBES)
        said = self.openssl("list", "-cipher-algorithms", OPENSSL_CONF=str(path)).decode()
        self.assertIn("vaccel-seal @ vaccel", said)
        self.assertNotIn("vaccel-archive", said)
        # Random numbers come from AES-CTR, which is the provider's then.
        self.assertEqual(len(self.openssl("rand", 64, OPENSSL_CONF=str(path))), 64)

    def test_wrong_settings(self):
        """Keep the provider from being loaded. OpenSSL says why only to who loads it by hand."""
        path = self.folder / "openssl.cnf"
        for name, variable, value, says in (
                ("threshold", "VACCEL_OPENSSL_THRESHOLD", "many", b"threshold many: is a number"),
                ("threshold", "VACCEL_OPENSSL_THRESHOLD", "-1", b"threshold -1: is a number"),
                ("threshold", "VACCEL_OPENSSL_THRESHOLD", "9" * 40, b"threshold 9+: is a number"),
                ("keys", "VACCEL_OPENSSL_KEYS", "../x", b"cannot be the name"),
                ("keys", "VACCEL_OPENSSL_KEYS", "backup, seal Backup", b"backup and Backup are the same name"),
                ("keys", "VACCEL_OPENSSL_KEYS", " ".join(f"x{n}" for n in range(17)), b"more than 16")):
            environment = {variable: value}
            done = self.openssl("list", "-providers", *PROVIDERS, status=None, **environment)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, says)
            self.environment.pop(variable, None)
            path.write_text(CONFIGURATION.format(settings=f"{name} = {value}"))
            self.assertNotIn(b"vaccel", self.openssl("list", "-providers", OPENSSL_CONF=str(path)))


class Sessions(Provider):
    """TLS with the provider preferred on both sides."""

    def setUp(self):
        super().setUp()
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem",
                     "-out", "cert.pem", "-subj", "/CN=localhost", "-config", "/etc/ssl/openssl.cnf")
        self.page = base64.b64encode(secrets.token_bytes(600000))
        (self.folder / "page").write_bytes(self.page)
        path = self.folder / "openssl.cnf"
        path.write_text(CONFIGURATION.format(settings=""))
        self.environment["OPENSSL_CONF"] = str(path)

    def serve(self):
        server = subprocess.Popen([OPENSSL, "s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem",
                                   "-HTTP", "-naccept", "1"], cwd=self.folder, env=self.environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        for line in server.stdout:
            found = re.match(rb"ACCEPT 127.0.0.1:(\d+)", line)
            if found:
                return server, int(found[1])
        return self.fail("the server does not listen")

    def get(self, *words):
        server, port = self.serve()
        said = self.openssl("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", "cert.pem", "-verify_return_error",
                            "-quiet", *words, data=b"GET /page HTTP/1.0\r\n\r\n")
        self.assertTrue(said.endswith(self.page), (len(said), said[:300]))
        server.wait(STUCK)

    def test_versions(self):
        before = self.forwarded()
        self.get("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256")
        self.assertGreater(self.forwarded(), before + 2 * PROBES + 20)
        self.get("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384")
        self.get("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        self.get("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
        # The MAC is within what CBC encrypts.
        self.get("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")
        self.get("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA")


class Programs(Provider):
    def test_vectors(self):
        files = [path for path in os.environ.get("VECTORS", "").split(":") if os.path.exists(path)]
        for threshold in ("1", "never"):
            self.run_it(USE, "vectors", *files, VACCEL_OPENSSL_THRESHOLD=threshold)

    def test_threads(self):
        self.run_it(USE, "threads")

    def test_fork(self):
        self.run_it(USE, "fork", "AES-128-CBC", "AES-256-CTR", "AES-128-ECB", "AES-256-GCM")

    def count(self):
        return int(self.run_it(USE, "count", *ALL, *(f"vaccel-{name}" for name in KEYS)))

    def test_no_daemon(self):
        """Nothing is offered, and nothing is broken."""
        self.assertEqual(self.count(), len(ALL) + len(KEYS))
        words = ["enc", "-aes-128-cbc", "-K", "00" * 16, "-iv", IV]
        for url in (f"shm:{self.folder}/absent", "virtio:/dev/null", "nonsense"):
            self.environment["VACCEL_TRANSPORT"] = url
            self.assertEqual(self.count(), 0)
            self.assertEqual(self.openssl(*words, *PREFERRED, data=b"x" * 9999), self.openssl(*words, data=b"x" * 9999))
            done = self.openssl(*words, *PROVIDERS, "-propquery", "provider=vaccel", status=None)
            self.assertIn(b"unsupported", done.stderr)


class Unserved(Provider):
    """A daemon without anything that encrypts."""

    order = "reference"

    def test_unserved(self):
        self.assertEqual(self.run_it(USE, "count", *ALL), b"0\n")


class Thresholds(Provider):
    """Which updates are forwarded where nobody says."""

    # What has OpenSSL do without AES instructions.
    software = {"OPENSSL_ia32cap": "~0x200000200000000", "OPENSSL_armcap": "0"}

    def setUp(self):
        super().setUp()
        del self.environment["VACCEL_OPENSSL_THRESHOLD"]

    def forwards(self, cipher, direction, size, **environment):
        """Whether an update of so many bytes, or with padding a little more, is forwarded."""
        key = bytes(range(64 if "XTS" in cipher else 32)).hex()
        words = [USE, "pipe", cipher, direction, key, IV[:24] if "GCM" in cipher else IV]
        path = self.folder / "data"
        path.write_bytes(bytes(size))
        if direction == "decrypt":
            words[3] = "encrypt"
            path.write_bytes(self.run_it(*words, data=bytes(size), VACCEL_OPENSSL_THRESHOLD="never"))
            words[3] = direction
        before = self.forwarded()
        # A pipe would give it less than an update at once.
        with open(path, "rb") as data:
            subprocess.run(words, stdin=data, stdout=subprocess.DEVNULL, check=True, timeout=STUCK,
                           env={**self.environment, **environment})
        return self.forwarded() > before + PROBES

    def expect(self, expected, **environment):
        for cipher, direction, size, forwarded in expected:
            with self.subTest(cipher=cipher, direction=direction, size=size):
                self.assertEqual(self.forwards(cipher, direction, size, **environment), forwarded)

    def test_instructions(self):
        if not re.search(r"^(flags|Features)\s*:.*\baes\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M):
            self.skipTest("the processor has no AES instructions")
        never = [(f"AES-256-{mode}", direction, 90000, False) for mode in ("ECB", "CTR", "GCM")
                 for direction in ("encrypt", "decrypt")]
        self.expect([("AES-256-CBC", "encrypt", 66000, True), ("AES-256-CBC", "encrypt", 65000, False),
                     ("AES-256-CBC", "decrypt", 90000, False), ("AES-256-XTS", "encrypt", 90000, False), *never])

    def test_software(self):
        if os.uname().machine not in ("x86_64", "aarch64"):
            self.skipTest("OpenSSL's AES instructions cannot be switched off")
        others = [(f"AES-256-{mode}", direction, size, size > 65536) for mode in ("ECB", "CTR", "GCM")
                  for direction in ("encrypt", "decrypt") for size in (65000, 66000)]
        self.expect([("AES-256-CBC", "encrypt", 17000, True), ("AES-256-CBC", "encrypt", 16000, False),
                     ("AES-256-CBC", "decrypt", 66000, True), ("AES-256-CBC", "decrypt", 17000, False),
                     ("AES-256-XTS", "encrypt", 66000, True), *others], **self.software)

    def test_set(self):
        """A setting is for all."""
        for environment in ({}, self.software):
            self.expect([("AES-256-CBC", "encrypt", 90000, False), ("AES-256-CTR", "encrypt", 90000, False)],
                        VACCEL_OPENSSL_THRESHOLD="never", **environment)
            self.expect([("AES-256-CBC", "encrypt", 1100, True), ("AES-256-CBC", "decrypt", 1100, True),
                         ("AES-256-GCM", "decrypt", 1100, True), ("AES-256-CTR", "encrypt", 900, False)],
                        VACCEL_OPENSSL_THRESHOLD="1000", **environment)


class Parts(Provider):
    """A daemon that serves a part of what there is."""

    order = "some"
    settings = ""

    def begin(self):
        self.config.write_text(self.config.read_text() +
                               f"[plugin some]\nplugin = {os.environ['OPENSSL_PLUGIN']}\n{self.settings}\n")
        super().begin()

    def offers(self, *modes):
        """Of those modes all is offered, of others nothing."""
        for name in ALL:
            with self.subTest(name):
                self.assertEqual(self.run_it(USE, "count", name), b"1\n" if name[8:] in modes else b"0\n")
        # What the host has no right part in does not take the provider's keys away.
        self.assertEqual(self.run_it(USE, "count", "vaccel-backup"), b"1\n")


class All(Parts):
    def test_all(self):
        """Nothing is missing for another reason."""
        self.offers("ECB", "CBC", "CTR", "XTS", "GCM")


class One(Parts):
    settings = "modes = cbc"

    def test_one(self):
        """What is not offered programs fetch elsewhere."""
        self.offers("CBC")
        for cipher in ("aes-128-cbc", "aes-128-ctr"):
            words = ["enc", f"-{cipher}", "-K", "00" * 16, "-iv", IV]
            self.assertEqual(self.openssl(*words, *PREFERRED, data=b"x" * 9999), self.openssl(*words, data=b"x" * 9999))


class Wrong(Parts):
    settings = "wrong = ctr"

    def test_wrong(self):
        self.offers("ECB", "CBC", "XTS", "GCM")


class WrongBack(Parts):
    settings = "wrong = cbc\nonly = decrypt"

    def test_wrong(self):
        self.offers("ECB", "CTR", "XTS", "GCM")


class WrongTag(Parts):
    settings = "wrong = gcm\nonly = encrypt"

    def test_wrong(self):
        self.offers("ECB", "CBC", "CTR", "XTS")


class Pipes(Provider):
    """Programs in the middle of a message."""

    def start(self, *words):
        process = subprocess.Popen([USE, *words], cwd=self.folder, env=self.environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for pipe in (process.stdin, process.stdout, process.stderr):
            self.addCleanup(pipe.close)
        return process

    def half(self, *words, times=1):
        """A program that waits with a message that has begun, and what has come out of it."""
        process = self.start(*words)
        said = b""
        for _ in range(times):
            process.stdin.write(bytes(49152))
            process.stdin.flush()
            said += process.stdout.read(49152)
        self.assertEqual(len(said), times * 49152, process.stderr)
        return process, said

    def rest(self, process, data=bytes(49152)):
        said, errors = process.communicate(data, timeout=STUCK)
        return said, process.returncode, errors

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait()

    def expected(self, cipher, key, size):
        self.environment["VACCEL_OPENSSL_THRESHOLD"] = "never"
        said = self.run_it(USE, "pipe", cipher, "encrypt", key, IV, data=bytes(size))
        self.environment["VACCEL_OPENSSL_THRESHOLD"] = "48"
        return said

    def test_daemon_killed(self):
        """Keys that the program has: nobody notices."""
        key = secrets.token_hex(32)
        for cipher in ("AES-256-CBC", "AES-256-CTR", "AES-256-ECB", "AES-256-GCM"):
            with self.subTest(cipher):
                expected = self.expected(cipher, key, 98304)
                process, first = self.half("pipe", cipher, "encrypt", key, IV)
                self.kill_daemon()
                second, status, errors = self.rest(process)
                self.assertEqual((status, errors), (0, b""))
                self.assertEqual(first + second, expected)
                (self.folder / "vaccel.sock").unlink(missing_ok=True)
                self.begin()

    def test_fork_asking(self):
        """No lock is left to a child that a thread of its parent's has, which waits for the daemon."""
        processes = [self.daemon.pid, *self.children(self.daemon.pid)]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            process = self.start("fork-asking", "AES-128-CBC")
            self.assertEqual(process.stdout.readline(), b"forked\n")
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.rest(process, b""), (b"", 0, b""))

    def test_long_message_lost(self):
        """Of a message of GCM that is too long to begin again, the state was the daemon's."""
        process, _ = self.half("pipe", "AES-128-GCM", "encrypt", "00" * 16, IV, times=32)
        self.kill_daemon()
        _, status, errors = self.rest(process)
        self.assertEqual(status, 1)
        self.assertIn(b"cipher operation failed", errors)

    def test_worker_killed(self):
        """The daemon's own business, but for a message of GCM, which begins again here."""
        key = secrets.token_hex(32)
        for cipher in ("AES-256-CBC", "vaccel-backup", "AES-256-GCM"):
            with self.subTest(cipher):
                held = cipher.startswith("vaccel-")
                expected = self.expected("AES-256-CBC" if held else cipher, self.keys["backup"].hex() if held else key, 98304)
                process, first = self.half("pipe", cipher, "encrypt", "-" if held else key, IV)
                for child in self.children(self.daemon.pid):
                    os.kill(child, signal.SIGKILL)
                second, status, errors = self.rest(process)
                self.assertEqual((status, errors), (0, b""))
                self.assertEqual(first + second, expected)

    def test_held_lost(self):
        """Keys that the daemon had: never here."""
        for name in ("backup", "seal", "stream", "disk"):
            with self.subTest(name):
                process, _ = self.half("pipe", f"vaccel-{name}", "encrypt", "-", IV)
                self.kill_daemon()
                said, status, errors = self.rest(process)
                self.assertEqual((said, status), (b"", 1))
                self.assertIn(b"cipher operation failed", errors)
                (self.folder / "vaccel.sock").unlink(missing_ok=True)
                self.begin()

    def test_held_refused(self):
        """A host that is not there any more is told of, also where it is not asked."""
        process = self.start("lost", "vaccel-backup")
        self.assertEqual(process.stdout.readline(), b"ready\n")
        self.kill_daemon()
        said, status, errors = self.rest(process, b"")
        self.assertEqual((status, errors), (0, b""))
        refused = [line for line in said.splitlines() if b"missing key" in line]
        self.assertGreater(len(refused), 5)
        for line in refused:
            self.assertRegex(line, b":vaccel: [a-z/]")
        self.assertIn(b"vaccel: connecting has just failed, and is tried again in a second", said)

    def memory_has(self, process, secret):
        """Whether any memory of the process has the bytes."""
        with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
            for line in pathlib.Path(f"/proc/{process.pid}/maps").read_text().splitlines():
                first, last = (int(n, 16) for n in line.split()[0].split("-"))
                try:
                    memory.seek(first)
                    if secret in memory.read(last - first):
                        return True
                except (OSError, OverflowError, ValueError):
                    continue
        return False

    def test_held_not_here(self):
        """The key is not in the program, though it uses it; one of its own is, which shows that looking finds it."""
        if SANITIZED:
            self.skipTest("a sanitized program has more memory than can be read")
        secret = self.keys["backup"]
        process, first = self.half("pipe", "vaccel-backup", "encrypt", "-", IV)
        self.assertFalse(self.memory_has(process, secret))
        second, status, _ = self.rest(process)
        self.assertEqual((status, first + second), (0, self.expected("AES-256-CBC", secret.hex(), 98304)))
        process, _ = self.half("pipe", "AES-256-CBC", "encrypt", secret.hex(), IV)
        self.assertTrue(self.memory_has(process, secret))
        process.kill()


class Held(Provider):
    """Keys of the host's in programs that do not know of such."""

    def test_enc(self):
        self.openssl("version")
        clear = secrets.token_bytes(100003)
        words = ["-K", "", "-iv", IV]
        for name, cipher in (("backup", "aes-256-cbc"), ("stream", "aes-256-ctr"), ("blocks", "aes-128-ecb")):
            iv = words if name != "blocks" else words[:2]
            for size in (0, 5, 16, 100003):
                with self.subTest(name=name, size=size):
                    coded = self.openssl("enc", f"-vaccel-{name}", *PROVIDERS, *iv, data=clear[:size])
                    own = ["enc", f"-{cipher}", "-K", self.keys[name].hex(), *iv[2:]]
                    self.assertEqual(coded, self.openssl(*own, data=clear[:size]))
                    self.assertEqual(self.openssl("enc", "-d", f"-vaccel-{name}", *PROVIDERS, *iv, data=coded), clear[:size])

    def test_password(self):
        """A password makes no key of length 0, but a salt and an IV."""
        words = [*PROVIDERS, "-pbkdf2", "-pass", "pass:x"]
        coded = self.openssl("enc", "-vaccel-backup", *words, data=b"text")
        self.assertEqual(self.openssl("enc", "-d", "-vaccel-backup", *words, data=coded), b"text")
        self.assertNotEqual(coded, self.openssl("enc", "-vaccel-backup", *words, data=b"text"))

    def refused(self, *words, says, data=bytes(64)):
        done = self.run_it(USE, *words, data=data, status=None)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(says, done.stderr)

    def test_rights(self):
        self.run_it(USE, "pipe", "vaccel-archive", "encrypt", "-", IV, data=bytes(64))
        self.refused("pipe", "vaccel-archive", "decrypt", "-", IV, says=b"decrypt")
        self.refused("pipe", "vaccel-reader", "encrypt", "-", IV, says=b"encrypt")
        coded = self.run_it(USE, "pipe", "vaccel-backup", "encrypt", "-", IV, data=b"text")
        self.assertEqual(self.run_it(USE, "pipe", "vaccel-reader", "decrypt", "-", IV, data=coded), b"text")
        # Nothing comes out before a tag was checked.
        self.refused("pipe", "vaccel-open", "decrypt", "-", IV[:24], says=b"tag not set")
        self.refused("pipe", "vaccel-open", "encrypt", "-", IV[:24], says=b"vaccel: ")
        self.refused("pipe", "vaccel-nothing", "encrypt", "-", IV, says=b"unsupported")

    def test_parameter(self):
        """For programs that know."""
        for name, cipher in (("backup", "AES-256-CBC"), ("stream", "AES-256-CTR"), ("disk", "AES-256-XTS")):
            coded = self.run_it(USE, "named", cipher, name, IV, data=b"x" * 77)
            self.assertEqual(coded, self.run_it(USE, "pipe", cipher, "encrypt", self.keys[name].hex(), IV, data=b"x" * 77))
        self.refused("named", "AES-128-CBC", "backup", IV, says=b"not for this cipher")
        self.refused("named", "AES-256-CTR", "backup", IV, says=b"not for this cipher")
        self.refused("named", "AES-256-CBC", "nothing", IV, says=b"missing key")

    def test_change(self):
        """A key of the program's takes the place of one of the host's."""
        for cipher, name in (("AES-256-CBC", "backup"), ("AES-256-CTR", "stream"), ("AES-256-XTS", "disk"),
                             ("AES-128-ECB", "blocks"), ("AES-128-GCM", "seal")):
            with self.subTest(cipher):
                self.run_it(USE, "change", cipher, name)

    def test_seal(self):
        coded = self.run_it(USE, "pipe", "vaccel-seal", "encrypt", "-", IV[:24], data=b"x" * 777)
        own = self.run_it(USE, "pipe", "AES-128-GCM", "encrypt", self.keys["seal"].hex(), IV[:24], data=b"x" * 777)
        self.assertEqual(coded, own)

    def test_fork(self):
        """The child has a connection of its own, for messages of its own."""
        self.run_it(USE, "held-fork", "vaccel-backup")

    def test_copy(self):
        for name in ("backup", "stream", "blocks"):
            self.run_it(USE, "held-copy", f"vaccel-{name}")
        # Only the host knows how far a message of GCM has come.
        self.assertEqual(self.run_it(USE, "held-copy", "vaccel-seal", status=None).returncode, 1)

    def test_guarded(self):
        self.run_it(USE, "guarded", "vaccel-open", "vaccel-seal")


if __name__ == "__main__":
    if not OPENSSL:
        print("skipped: openssl is not installed", file=sys.stderr)
        sys.exit(77)
    fixture.main()
