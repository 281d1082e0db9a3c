#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each bench with daemons of its own: what comes out, and that nothing is left behind. Never how large a number is."""

import math
import os
import pathlib
import shutil
import signal
import subprocess
import time

import fixture

# Bench: options that make it quick, names of its sides, names of its ratios.
BENCHES = {
    "rtt": ([], ["eventfd, one CPU", "parked, one CPU", "eventfd, two CPUs", "parked, two CPUs", "spin, two CPUs",
                 "polled, two CPUs"],
            ["parked_over_eventfd", "parked_over_eventfd_one_cpu", "parked_over_eventfd_two_cpus", "polled_over_spin"]),
    "sgemm": (["--sizes", "16,33"], ["local", "shm, polled", "shm, parked"],
              [f"{waiting}_over_local_{size}" for waiting in ("shm", "parked") for size in (16, 33)]),
    "copy": (["--sizes", "16,33"], ["registered", "plain"],
             ["copied_bytes_registered", "copies_plain", "plain_over_registered_16", "plain_over_registered_33"]),
    "session": ([], ["no-op, parked", "open and close, parked", "no-op", "open and close"],
                ["open_close_over_noop", "open_close_over_noop_parked", "open_close_over_noop_polled"]),
    "many": (["--sizes", "16"], ["1 session", "64 sessions", "no-op alone", "no-op behind large"],
             ["p99_over_p50_64", "small_behind_large", "throughput_64_over_1"]),
}
CRYPTO_SIDES = ["native", "local", "shm, plain", "shm, registered", "shm, plain, pipelined", "shm, registered, pipelined",
                "shm, one CPU"]
CRYPTO_RATIOS = ["local", "shm", "shm_plain", "shm_sync", "shm_plain_sync", "shm_one_cpu"]


def processes_of(folder):
    """Processes that have the folder in their command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{folder}/".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


class Bench(fixture.Test):
    def setUp(self):
        super().setUp()
        if not fixture.DAEMON or not os.path.exists(fixture.DAEMON):
            self.skipTest("there is no daemon in this build")
        self.environment = {"TMPDIR": str(self.folder)}

    def nothing_left(self):
        self.assertEqual(list(self.folder.glob("vaccel-bench.*")), [])
        self.assertEqual(processes_of(self.folder), [])

    def check_row(self, said, row):
        for key in ("min_ns", "median_ns", "p99_ns", "max_ns", "spread_percent", "ops_per_second", "client_cpu_ns",
                    said["value"]):
            self.assertTrue(math.isfinite(row[key]), (key, row))
        self.assertGreater(row["median_ns"], 0)
        self.assertLessEqual(row["min_ns"], row["median_ns"])
        self.assertLessEqual(row["median_ns"], row["p99_ns"])
        self.assertLessEqual(row["p99_ns"], row["max_ns"])
        self.assertIn(row["placement"], ("one CPU", "two CPUs", "any CPU"))
        # The engine of this process is no other end; all others can be asked.
        self.assertEqual(row["other_cpu_ns"] is None, row["side"] == "local")
        self.assertEqual(row["verified"], said["op"] == "sgemm" and not row["side"].startswith("no-op alone"))

    def run_bench(self, name):
        options, sides, ratios = BENCHES[name]
        said = self.json("bench", name, "--repeat", 24, *options, environment=self.environment)
        self.assertEqual(said["bench"], name)
        for key in ("cpu", "kernel", "guest", "cpus", "machine", "version"):
            self.assertTrue(said["where"][key])
        self.assertEqual([side["name"] for side in said["sides"]], sides)
        self.assertEqual([row["side"] for row in said["rows"]], sides * (len(said["rows"]) // len(sides)))
        for row in said["rows"]:
            self.assertEqual(row["samples"], 24)
            self.check_row(said, row)
        self.assertEqual(sorted(said["ratios"]), sorted(ratios))
        for ratio, number in said["ratios"].items():
            self.assertTrue(math.isfinite(number), ratio)
        for side in said["sides"]:
            self.assertIn(side["base"], [None, *sides])
            self.assertEqual("transport" in side, not side["name"].startswith(("eventfd", "spin")))
        self.nothing_left()
        return said

    def test_rtt(self):
        said = self.run_bench("rtt")
        self.assertEqual([row["in_flight"] for row in said["rows"]], [1] * 6)

    def test_rtt_in_flight(self):
        said = self.json("bench", "rtt", "--repeat", 3, "--sizes", "4", environment=self.environment)
        self.assertEqual([row["side"] for row in said["rows"]], ["parked, one CPU", "parked, two CPUs", "polled, two CPUs"])
        self.assertEqual(said["ratios"], {})

    def test_profile(self):
        said = self.json("bench", "rtt", "--profile", "--repeat", 24, environment=self.environment)
        for side in ("parked, one CPU", "parked, two CPUs", "polled, two CPUs"):
            stages = {row["stage"]: row for row in said["profile"] if row["side"] == side}
            self.assertLessEqual({"encode", "submit", "wait", "take", "fetch", "plugin", "total", "between"}, set(stages))
            for name, row in stages.items():
                self.assertIn(row["where"], ("library", "daemon", "both"))
                self.assertTrue(math.isfinite(row["mean_ns"]), name)
            # The run before the first turn, and before it and each other turn some to warm up.
            for name in ("encode", "take", "plugin", "total"):
                self.assertGreater(stages[name]["count"], 24, name)
                self.assertEqual(stages[name]["count"], stages["wait"]["count"], name)
        self.assertEqual({row["side"] for row in said["profile"]} & {"eventfd, one CPU", "spin, two CPUs"}, set())
        self.assertIn("\nbetween: ", self.vaccel("bench", "rtt", "--profile", "--repeat", 5,
                                                environment=self.environment).stdout)

    def test_sgemm(self):
        self.run_bench("sgemm")

    def test_copy(self):
        said = self.run_bench("copy")
        self.assertEqual(said["ratios"]["copied_bytes_registered"], 0)
        payload = [24 * 3 * 4 * size ** 2 for size in (16, 33)]
        self.assertEqual([row["copied_bytes"] for row in said["rows"] if row["side"] == "plain"], payload)

    def test_session(self):
        said = self.run_bench("session")
        self.assertIsNone(said["key"])
        self.fails("bench", "session", "--sizes", "1", status=fixture.USAGE, code="EINVAL", says=["--sizes", "has none"])

    def test_many(self):
        said = self.run_bench("many")
        self.assertEqual({side["name"]: side["processes"] for side in said["sides"]}["64 sessions"], 8)

    def need_openssl(self):
        folders = os.environ.get("VACCEL_PLUGIN_DIR", "").split(":")
        if not any(os.path.exists(f"{folder}/vaccel-openssl.so") for folder in folders):
            self.skipTest("there is no plugin openssl in this build")

    def test_crypto(self):
        self.need_openssl()
        said = self.json("bench", "crypto", "--guests", "none", "--sizes", "16,65536", "--repeat", 3,
                         environment=self.environment)
        self.assertEqual([side["name"] for side in said["sides"]], CRYPTO_SIDES)
        sides = [side["name"] for side in said["sides"] if "left_out" not in side]
        self.assertEqual([(row["direction"], row["bytes"], row["side"]) for row in said["rows"]],
                         [(direction, size, side) for direction in ("encrypt", "decrypt") for size in (16, 65536)
                          for side in sides])
        for row in said["rows"]:
            self.assertTrue(row["verified"])
            self.assertEqual(row["samples"], 3)
            for key in ("megabytes_per_second", "median_ns", "client_cpu_ns_per_byte"):
                self.assertGreater(row[key], 0, (key, row))
            self.assertEqual(row["other_cpu_ns_per_byte"] is None, row["side"] in ("native", "local"))
        if "native" in sides:
            self.assertEqual(sorted(said["ratios"]), sorted(
                f"{name}_over_native_{size}_{direction}" for name in CRYPTO_RATIOS for size in (16, 65536)
                for direction in ("encrypt", "decrypt")))
            self.assertIn("shm, registered, pipelined", " ".join(said["conclusions"]))
        self.assertTrue(all(number > 0 for number in said["ratios"].values()))
        self.nothing_left()

    def test_crypto_text_and_plot(self):
        self.need_openssl()
        if not shutil.which("gnuplot"):
            self.skipTest("there is no gnuplot")
        said = self.vaccel("bench", "crypto", "--guests", "none", "--sizes", "16,32", "--repeat", 1, "--plot", "panels.svg",
                           environment=self.environment).stdout
        self.assertIn("client ns/B", said)
        drawn = (self.folder / "panels.svg").read_text()
        for text in ("encrypt, host", "decrypt, host", *CRYPTO_SIDES[1:]):
            self.assertIn(text, drawn)

    def test_crypto_refuses_half_a_block(self):
        self.need_openssl()
        self.fails("bench", "crypto", "--guests", "none", "--sizes", "24", status=fixture.FAILED, code="EINVAL",
                   says=["multiples of 16"], environment=self.environment)
        self.nothing_left()

    def test_text_and_plot(self):
        plot = ["--plot", "bars.svg"] if shutil.which("gnuplot") else []
        said = self.vaccel("bench", "session", "--repeat", 3, *plot, environment=self.environment).stdout
        self.assertIn("\nopen_close_over_noop ", said)
        self.assertIn("open and close: two CPUs, virtio-accel", said)
        if plot:
            self.assertIn("99th percentile", (self.folder / "bars.svg").read_text())

    def test_over_a_transport(self):
        url = self.start_daemon()
        for name in ("copy", "session", "many"):
            options = BENCHES[name][0]
            said = self.json("bench", name, "-t", url, "--repeat", 3, *options, environment=self.environment)
            self.assertEqual({side.get("transport") for side in said["sides"]}, {url})
            for ratio, number in said["ratios"].items():
                self.assertTrue(math.isfinite(number), ratio)
        self.assertEqual(list(self.folder.glob("vaccel-bench.*")), [])

    def test_daemon_that_does_not_start(self):
        self.fails("bench", "rtt", status=fixture.FAILED, code="ECHILD", says=["rtt: daemon: cannot start", "absent"],
                   environment={**self.environment, "VACCELD": "/absent/vacceld"})
        self.nothing_left()

    def interrupt(self, number):
        env = {**os.environ, **self.environment, "HOME": str(self.folder)}
        env.pop("VACCEL_TRANSPORT", None)
        with subprocess.Popen([fixture.PROGRAM, "bench", "session", "--seconds", "600"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, env=env) as bench:
            try:
                self.wait_for(lambda: len(list(self.folder.glob("vaccel-bench.*/*.sock"))) == 2)
                bench.send_signal(number)
                bench.communicate(timeout=60)
                self.assertEqual(bench.returncode, -number)
            finally:
                bench.kill()
        if number != signal.SIGKILL:
            self.nothing_left()

    def wait_for(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it takes too long")
            time.sleep(0.02)

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.interrupt(number)

    def test_killed(self):
        self.interrupt(signal.SIGKILL)
        self.wait_for(lambda: not list(self.folder.glob("vaccel-bench.*")))
        self.wait_for(lambda: not processes_of(self.folder))


if __name__ == "__main__":
    fixture.main()
