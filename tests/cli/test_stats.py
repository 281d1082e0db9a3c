#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a daemon counted, asked over a transport and through its metrics, against what was done; metrics that are none."""

import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import fixture
from fixture import FAILED, NO_CONNECTION

STAGES = ["fetch", "resolve", "queue", "plugin", "answer", "total", "signal"]
STUCK = 60


def parse(text):
    """Samples of the Prometheus text format, {(name, frozenset of labels): value}, and families {name: type}."""
    samples, families, family = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in families and len(line.split(" ", 3)) == 4, line
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family, line
            families[name] = kind
            continue
        match = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z]+="[A-Za-z0-9_.+-]*",?)*)\})? ([0-9.e+-]+)', line)
        assert match, line
        name, labels, value = match.groups()
        assert re.sub("_(bucket|sum|count)$", "", name) == family if families[family] == "histogram" else name == family
        labels = frozenset(re.findall(r'([a-z]+)="([^"]*)"', labels or ""))
        assert (name, labels) not in samples, line
        samples[name, labels] = float(value)
    return samples, families


def get(address, request=b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"):
    """The status and the body of the answer."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(STUCK)
        sock.connect(address)
        sock.sendall(request)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(fields[b"Content-Length"]) == len(body)
    return int(head.split()[1]), body.decode()


class Metrics(fixture.Test):
    def setUp(self):
        super().setUp()
        self.address = str(self.folder / "metrics.sock")
        self.configure(f"unix:{self.address}")
        self.url = self.start_daemon()

    def configure(self, listen, trace="on"):
        with open(self.config, "a", encoding="utf-8") as config:
            config.write(f"[metrics]\nlisten = {listen}\ntrace = {trace}\n")

    def scrape(self):
        status, text = get(self.address)
        self.assertEqual(status, 200)
        return parse(text)

    def of(self, samples, name, **labels):
        return samples.get((name, frozenset(labels.items())), 0)

    def settled(self):
        """Samples once no connection is open."""
        deadline = time.monotonic() + STUCK
        while True:
            samples, families = self.scrape()
            if self.of(samples, "vaccel_connections") == 0:
                return samples, families
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_exact(self):
        self.json("ping", "-c", 37, "-t", self.url)
        self.json("ping", "-c", 5, "-t", self.url)
        self.fails("sgemm", "-m", 4000000, "-t", self.url, status=FAILED, code=("E2BIG", "ENOMEM", "EDQUOT", "EINVAL"),
                   says=["vaccel sgemm: "])
        samples, families = self.settled()
        for name, kind in families.items():
            self.assertIn(kind, ("counter", "gauge", "histogram"))
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
        closed = {"guest": "closed"}
        self.assertEqual(self.of(samples, "vaccel_requests_total", op="noop", **closed), 42)
        self.assertEqual(self.of(samples, "vaccel_requests_in_flight", **closed), 0)
        self.assertEqual(self.of(samples, "vaccel_worker_starts_total"), 1)
        self.assertEqual(self.of(samples, "vaccel_worker_up", plugins="yes"), 1)
        opened = self.of(samples, "vaccel_requests_total", op="session_open", **closed)
        # Nobody waits for the answer to closing one, which may come too late.
        self.assertLessEqual(self.of(samples, "vaccel_requests_total", op="session_close", **closed), opened)
        self.assertGreaterEqual(opened, 2)
        for stage in STAGES[:-1]:
            self.assertEqual(self.of(samples, "vaccel_stage_seconds_count", op="noop", stage=stage, **closed), 42, stage)

    def test_histograms(self):
        self.json("ping", "-c", 20, "-t", self.url)
        samples, _ = self.settled()
        buckets = {}
        for (name, labels), value in samples.items():
            if name == "vaccel_stage_seconds_bucket":
                labels = dict(labels)
                buckets.setdefault((labels["op"], labels["stage"]), []).append((float(labels["le"]), value))
        self.assertLessEqual({("noop", stage) for stage in STAGES}, set(buckets))
        for (op, stage), rows in buckets.items():
            rows.sort()
            values = [value for _, value in rows]
            self.assertEqual(values, sorted(values))
            self.assertEqual(rows[-1][0], float("inf"))
            count = self.of(samples, "vaccel_stage_seconds_count", guest="closed", op=op, stage=stage)
            self.assertEqual(values[-1], count)
            mean = self.of(samples, "vaccel_stage_seconds_sum", guest="closed", op=op, stage=stage) / count
            self.assertLess(mean, rows[-2][0])
        parts = sum(self.of(samples, "vaccel_stage_seconds_sum", guest="closed", op="noop", stage=stage)
                    for stage in STAGES[:5])
        total = self.of(samples, "vaccel_stage_seconds_sum", guest="closed", op="noop", stage="total")
        self.assertAlmostEqual(parts, total, delta=total * 0.01)

    def test_guests(self):
        """Numbers of one connection are its own, and those of an earlier one of that number are not among them."""
        self.json("ping", "-c", 3, "-t", self.url)
        self.settled()
        said = self.json("stats", "-t", self.url)
        self.assertEqual([row["op"] for row in said["ops"]], [])
        self.assertEqual((said["worker_starts"], said["sampling"], said["in_flight"]), (1, 1, 1))
        whole = self.json("stats", "-m", f"unix:{self.address}")
        noop = {row["op"]: row for guest in whole["guests"] for row in guest["ops"]}["noop"]
        self.assertEqual(noop["requests"], 3)
        self.assertEqual(set(noop["stages"]), set(STAGES))
        self.assertEqual(noop["stages"]["total"]["count"], 3)
        self.assertEqual(whole["limit_hits"]["sessions"], 0)

    def test_for_people(self):
        self.json("ping", "-c", 3, "-t", self.url)
        said = self.vaccel("stats", "-m", f"unix:{self.address}").stdout
        self.assertRegex(said, r"(?m)^worker +serves, 1 started$")
        self.assertRegex(said, r"(?m)^noop +3 +-$")
        self.assertRegex(said, r"(?m)^noop +plugin +3 ")
        said = self.vaccel("stats", "-t", self.url).stdout
        self.assertIn(f"transport  {self.url}\n", said)

    def test_watch(self):
        # pylint: disable-next=consider-using-with # ended below
        watch = subprocess.Popen([fixture.PROGRAM, "stats", "-m", f"unix:{self.address}", "-w", "1"], text=True,
                                 stdout=subprocess.PIPE)
        seen = 0
        while seen < 2:
            line = watch.stdout.readline()
            self.assertTrue(line)
            seen += line.startswith("daemon ")
        watch.send_signal(signal.SIGTERM)
        watch.communicate(timeout=STUCK)

    def test_worker_deaths(self):
        # The socket is there before the worker is.
        self.json("ping", "-c", 1, "-t", self.url)
        pid, = self.children(self.daemon.pid)
        os.kill(pid, signal.SIGKILL)
        self.json("ping", "-c", 1, "-t", self.url)
        samples, _ = self.settled()
        self.assertEqual(self.of(samples, "vaccel_worker_deaths_total", cause="signal"), 1)
        self.assertEqual(self.of(samples, "vaccel_worker_starts_total"), 2)

    def test_nothing_else(self):
        for request, status in ((b"GET / HTTP/1.0\r\n\r\n", 404), (b"GET /metrics/x HTTP/1.0\r\n\r\n", 404),
                                (b"POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 405),
                                (b"GET /metrics\r\n\r\n", 400), (b"nonsense\n\n", 400), (b"\0\r\n\r\n", 400),
                                (b"GET /metrics HTTP/1.0\r\nX: " + b"x" * 8192, 431)):
            with self.subTest(request[:40]):
                self.assertEqual(get(self.address, request), (status, ""))
        self.assertEqual(get(self.address, b"GET /metrics HTTP/1.0\n\n")[0], 200)

    def test_slow_clients(self):
        """Who says nothing, or does not read, holds up neither guests nor, beyond its time, others who ask."""
        idle = [socket.socket(socket.AF_UNIX) for _ in range(6)]
        for index, sock in enumerate(idle):
            self.addCleanup(sock.close)
            sock.connect(self.address)
            if index % 2:
                sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        self.assertEqual(self.json("ping", "-c", 2, "-t", self.url)["count"], 2)
        self.assertEqual(get(self.address)[0], 200)
        for sock in idle:
            sock.settimeout(STUCK)
            while sock.recv(65536):
                pass

    def starved(self, pid):
        """Whether a client waits while there is no descriptor for it, and is served once there is one."""
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
        free = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.address)
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            sock.settimeout(0.3)
            try:
                sock.recv(1)
            except TimeoutError:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                sock.settimeout(STUCK)
                self.assertEqual(sock.recv(8), b"HTTP/1.0")
                return True
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        # One was closed meanwhile, that of the client before.
        return False

    def test_no_descriptor_left(self):
        self.json("ping", "-c", 1, "-t", self.url)
        self.settled()
        self.assertTrue(any(self.starved(self.daemon.pid) for _ in range(20)))

    def test_the_socket_goes(self):
        self.assertTrue(os.path.exists(self.address))
        self.assertEqual(os.stat(self.address).st_mode & 0o777, 0o660)
        self._end(self.daemon)
        self.assertFalse(os.path.exists(self.address))


class Sampled(Metrics):
    """Without tracing; the tests above that count times do not hold then."""

    def configure(self, listen, trace="off"):
        super().configure(listen, "off")

    test_guests = test_for_people = test_histograms = test_watch = test_slow_clients = test_nothing_else = None
    test_worker_deaths = test_the_socket_goes = test_no_descriptor_left = None

    def test_exact(self):
        self.json("ping", "-c", 1000, "-t", self.url)
        samples, _ = self.settled()
        self.assertEqual(self.of(samples, "vaccel_requests_total", guest="closed", op="noop"), 1000)
        timed = self.of(samples, "vaccel_stage_seconds_count", guest="closed", op="noop", stage="total")
        self.assertTrue(1000 // 64 - 1 <= timed <= 1000 // 8 + 8, timed)


class Loopback(fixture.Test):
    def listens(self, address):
        with open(self.config, "a", encoding="utf-8") as config:
            config.write(f"[metrics]\nlisten = {address}\n")

    def test_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.listens(f"127.0.0.1:{port}")
        url = self.start_daemon()
        self.json("ping", "-c", 2, "-t", url)
        self.assertEqual(get(("127.0.0.1", port))[0], 200)
        self.assertEqual(self.json("stats", "-m", f"127.0.0.1:{port}")["worker_up"], 1)

    def test_refused(self):
        for address, words in {"0.0.0.0:9100": "only loopback", "192.168.0.1:9100": "only loopback",
                               "[::]:9100": "only loopback", "[fe80::1]:9100": "only loopback",
                               "127.0.0.1": "neither unix:PATH", "127.0.0.1:0": "neither unix:PATH",
                               "127.0.0.1:70000": "neither unix:PATH", "localhost:9100": "neither unix:PATH",
                               ":9100": "neither unix:PATH", "unix:/nonexistent/x": "cannot create it"}.items():
            with self.subTest(address):
                done = subprocess.run([fixture.DAEMON, "--config=", f"--set=metrics.listen={address}",
                                       f"--socket-path={self.folder}/sock"], capture_output=True, text=True, check=False,
                                      timeout=STUCK)
                self.assertEqual(done.returncode, 1)
                self.assertIn("metrics", done.stderr)
                self.assertIn(words, done.stderr)


class NotMetrics(fixture.Test):
    """What another server may answer."""

    def test_nothing_there(self):
        self.fails("stats", "-m", f"unix:{self.folder}/absent", status=NO_CONNECTION, code="ENOENT",
                   says=["vaccel stats: metrics ", "cannot connect"])

    def answers(self, answer):
        path = str(self.folder / "fake")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            sock.listen(4)

            def serve():
                for _ in range(2):
                    client, _ = sock.accept()
                    with client:
                        client.recv(4096)
                        client.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            self.fails("stats", "-m", f"unix:{path}", status=FAILED, code="EPROTO", says=["vaccel stats: metrics "])
            thread.join()
        os.unlink(path)

    def test_malformed(self):
        head = b"HTTP/1.0 200 OK\r\n\r\n"
        for answer in (b"", b"hello", b"HTTP/1.0 404 Not Found\r\n\r\n", head, head + b"other_metric 1\n",
                       head + b"vaccel_worker_starts_total\n", head + b"vaccel_worker_starts_total x\n",
                       head + b"vaccel_worker_starts_total -1\n", head + b"vaccel_worker_starts_total nan\n",
                       head + b"vaccel_requests_total{guest=\"1\n", head + b"vaccel_requests_total{guest=1} 1\n",
                       head + b"vaccel_requests_total{guest=\"\x1b[2J\"} 1\n", head + b"{", head + b"a{b=\"c\"",
                       head + b"vaccel_requests_total{guest=\"" + b"x" * 100 + b"\"} 1\n"):
            with self.subTest(answer):
                self.answers(answer)


class Local(fixture.Test):
    def test_own(self):
        said = self.json("stats", "-t", self.local)
        self.assertEqual((said["ops"], said["worker_starts"]), ([], 1))


if __name__ == "__main__":
    fixture.main()
