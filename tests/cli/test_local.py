#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every command on this process's own engine: what it prints, what it accepts, how it fails."""

import json
import pathlib
import shutil
import subprocess

import fixture
from fixture import FAILED, NO_CONNECTION

SMALL = ("-m", 33, "-n", 17, "-k", 65)


class Local(fixture.Test):
    def sgemm(self, *arguments):
        return self.json("sgemm", "-t", self.local, *SMALL, *arguments)

    def test_info(self):
        said = self.json("info", "-t", self.local)
        self.assertEqual(sorted(said), ["device", "host", "limits", "ops", "plugin_failures", "transport", "version"])
        self.assertEqual(said["transport"], self.local)
        self.assertGreater(said["limits"]["buffer_bytes"], 0)
        rows = {row["name"]: row for row in said["ops"]}
        self.assertLessEqual({"noop", "sgemm", "dgemm"}, set(rows))
        self.assertEqual(rows["sgemm"]["plugin"], "reference")
        self.assertTrue(rows["sgemm"]["hardware"])
        text = self.vaccel("info", "-t", self.local).stdout
        for words in (said["transport"], said["version"], said["host"], "sgemm", "reference"):
            self.assertIn(words, text)

    def test_info_tells_failures(self):
        self.config.write_text("[order]\ndefault = absent reference\n")
        said = self.json("info", "-t", self.local)
        self.assertEqual([row["plugin"] for row in said["plugin_failures"]], ["absent"])
        self.assertIn("vaccel-absent.so", said["plugin_failures"][0]["cause"])
        self.assertIn("plugin absent does not serve", self.vaccel("info", "-t", self.local).stdout)

    def test_info_tells_of_keys(self):
        self.config.write_text("[order]\ndefault = reference\n"
                               "[key backup]\nfile = /nowhere\ncipher = aes-256-cbc\nallow = encrypt\n")
        said = self.json("info", "-t", self.local)
        self.assertEqual([row["plugin"] for row in said["plugin_failures"]], ["key backup"])
        self.assertIn("cannot open /nowhere", said["plugin_failures"][0]["cause"])
        self.assertIn("\nkey backup does not serve: ", self.vaccel("info", "-t", self.local).stdout)

    def test_transport_from_environment(self):
        done = self.vaccel("info", "--json", environment={"VACCEL_TRANSPORT": self.local})
        self.assertEqual(json.loads(done.stdout)["transport"], self.local)

    def test_ping(self):
        said = self.json("ping", "-c", 7, "-t", self.local)
        self.assertEqual(said["count"], 7)
        self.assertLessEqual(said["min_ns"], said["median_ns"])
        self.assertLessEqual(said["median_ns"], said["p99_ns"])
        self.assertLessEqual(said["p99_ns"], said["max_ns"])
        self.assertIn("7 requests", self.vaccel("ping", "-c", 7, "-t", self.local).stdout)

    def test_sgemm(self):
        said = self.sgemm()
        self.assertEqual((said["op"], said["m"], said["n"], said["k"], said["runs"]), ("sgemm", 33, 17, 65, 5))
        self.assertEqual((said["plugin"], said["memory"]), ("reference", "registered"))
        self.assertEqual(said["verified"]["entries"], 33 * 17)
        self.assertEqual(said["verified"]["checked"], 33 * 17)
        self.assertEqual(said["verified"]["wrong"], 0)
        self.assertGreater(said["verified"]["worst_of_bound"], 0)
        self.assertGreater(said["mflops"], 0)

    def test_sgemm_shapes(self):
        for arguments in (["--order", "col"], ["--transa"], ["--transb"], ["--transa", "--transb", "--order", "col"],
                          ["--alpha", 0.5, "--beta", -2], ["--alpha", 0], ["--plain"], ["--registered"],
                          ["--lda", 70, "--ldb", 20, "--ldc", 19], ["--lda", 40, "--ldb", 66, "--ldc", 35,
                          "--order", "col"], ["--repeat", 1, "--seed", 7]):
            for kind in ([], ["--double"]):
                with self.subTest(arguments + kind):
                    said = self.sgemm(*arguments, *kind)
                    self.assertEqual(said["op"], "dgemm" if kind else "sgemm")
                    self.assertEqual(said["verified"]["checked"], 33 * 17)

    def test_sgemm_empty(self):
        for size in (("-m", 0), ("-n", 0), ("-k", 0)):
            said = self.sgemm(*size)
            self.assertEqual(said["verified"]["wrong"], 0)

    def test_sgemm_without_check(self):
        self.assertIsNone(self.sgemm("--no-verify")["verified"])
        self.assertIn("not verified", self.vaccel("sgemm", "-t", self.local, *SMALL, "--no-verify").stdout)

    def test_sgemm_samples_large_results(self):
        said = self.json("sgemm", "-t", self.local, "-m", 1, "-n", 3000, "-k", 60000, "--repeat", 1)
        self.assertEqual(said["verified"]["entries"], 3000)
        self.assertLess(said["verified"]["checked"], 3000)
        self.assertGreaterEqual(said["verified"]["checked"], 64)

    def test_bad_dimensions(self):
        for arguments in (["--lda", 3], ["--ldb", 1], ["--ldc", 16], ["--order", "col", "--lda", 32]):
            with self.subTest(arguments):
                self.fails("sgemm", "-t", self.local, *SMALL, *arguments, status=FAILED, code="EINVAL",
                           says=["vaccel sgemm: ", arguments[-2].lstrip("-")])
        self.fails("sgemm", "-t", self.local, "-m", 1 << 40, "-k", 1 << 40, status=FAILED, code="EOVERFLOW",
                   says=["matrix A", "cannot allocate", "do not fit"])

    def test_oversized(self):
        self.config.write_text("[order]\ndefault = reference\n[limits]\nrequest_bytes = 64K\nbuffer_bytes = 32K\n")
        self.fails("sgemm", "-t", self.local, "-m", 128, "-n", 128, "-k", 128, "--plain", status=FAILED, code="E2BIG",
                   says=["vaccel sgemm: "])
        self.fails("sgemm", "-t", self.local, "-m", 128, "-n", 128, "-k", 128, status=FAILED, code="E2BIG",
                   says=["matrix A", "cannot register"])

    def test_unserved(self):
        self.config.write_text("[order]\ndefault = absent\n")
        self.fails("sgemm", "-t", self.local, *SMALL, status=FAILED, code="EOPNOTSUPP", says=["vaccel sgemm: ", "sgemm"])

    def test_bad_configuration(self):
        self.config.write_text("[limits]\nsesions = 3\n")
        for command in (["info"], ["ping"], ["sgemm"], ["bench", "sgemm"]):
            self.fails(*command, "-t", self.local, status=NO_CONNECTION, code="EINVAL",
                       says=[f"transport {self.local}", "vaccel.conf", "sesions"])
        self.fails("plugin", "-t", self.local, status=FAILED, code="EINVAL", says=["vaccel.conf", "sesions"])
        self.fails("info", "-t", "local:/absent.conf", status=NO_CONNECTION, code="ENOENT", says=["/absent.conf"])


class Bench(fixture.Test):
    def bench(self, *arguments):
        return self.json("bench", *arguments, "-t", self.local, "--repeat", 5)

    def test_alone(self):
        said = self.bench("sgemm", "--sizes", "8,16")
        self.assertEqual([row["size"] for row in said["rows"]], [8, 16])
        self.assertEqual([side["name"] for side in said["sides"]], ["local"])
        self.assertEqual(said["ratios"], {})
        for row in said["rows"]:
            self.assertEqual((row["side"], row["samples"], row["placement"]), ("local", 5, "any CPU"))
            self.assertGreater(row["mflops"], 0)
            self.assertGreater(row["client_cpu_ns"], 0)
            self.assertLessEqual(row["min_ns"], row["median_ns"])
            self.assertLessEqual(row["median_ns"], row["p99_ns"])
            self.assertLessEqual(row["p99_ns"], row["max_ns"])
            self.assertTrue(row["verified"])
        for key in ("cpu", "cpus", "kernel", "machine", "guest", "version"):
            self.assertTrue(said["where"][key])

    def test_against(self):
        said = self.bench("sgemm", "--sizes", "8", "--against", self.local, "--raw", "--plain")
        subject, baseline = said["rows"]
        ratio = subject["median_ns"] / baseline["median_ns"]
        self.assertEqual(list(said["ratios"]), ["local_over_baseline_8"])
        self.assertAlmostEqual(said["ratios"]["local_over_baseline_8"], ratio, delta=ratio * 1e-4)
        self.assertAlmostEqual(subject["over_base"], ratio, delta=ratio * 1e-4)
        self.assertEqual(len(baseline["samples_ns"]), 5)
        self.assertEqual(sorted(baseline["samples_ns"])[2], baseline["median_ns"])
        self.assertEqual(said["memory"], "plain")

    def test_rtt(self):
        said = self.bench("rtt", "--sizes", "1,3")
        self.assertEqual([row["in_flight"] for row in said["rows"]], [1, 3])
        self.fails("bench", "rtt", "-t", self.local, "--sizes", "5000", status=FAILED, code="E2BIG",
                   says=["rtt, in_flight 5000", "cannot prepare", "at most"])

    def test_table(self):
        said = self.vaccel("bench", "sgemm", "-t", self.local, "-a", self.local, "--repeat", 3, "--sizes", "8").stdout
        self.assertIn("over base", said.splitlines()[0])
        self.assertEqual(said.splitlines()[1].split()[:2], ["local", "8"])
        self.assertIn("\nlocal_over_baseline_8 ", said)

    def test_stored(self):
        stored = self.folder / "stored.json"
        stored.write_text(json.dumps(self.bench("sgemm", "--sizes", "8", "--against", self.local)))
        self.assertEqual(self.json("bench", "--from", stored), json.loads(stored.read_text()))
        self.assertIn("over base", self.vaccel("bench", "--from", stored).stdout)
        self.fails("bench", "--from", "absent.json", status=FAILED, code="ENOENT", says=["absent.json", "cannot read"])
        stored.write_text('{"rows": ')
        self.fails("bench", "--from", stored, status=FAILED, code="EINVAL", says=["cannot use", "not JSON"])
        stored.write_text('{"rows": [{"size": "big"}]}')
        self.fails("bench", "--from", stored, status=FAILED, code="EINVAL", says=["cannot use", "not a result"])

    def test_plot(self):
        if not shutil.which("gnuplot"):
            self.skipTest("gnuplot is not installed")
        for name, magic in (("it's.png", b"\x89PNG"), ("a b.svg", b"<?xml")):
            # A single size makes gnuplot warn of an empty range: not our user's concern.
            self.bench("sgemm", "--sizes", "4" if name.endswith("svg") else "4,8", "-a", self.local, "--plot", self.folder / name)
            self.assertTrue((self.folder / name).read_bytes().startswith(magic))

    def test_plot_fails(self):
        stored = self.folder / "stored.json"
        stored.write_text(json.dumps(self.bench("sgemm", "--sizes", "8")))
        show = ("bench", "--from", stored, "--plot")
        self.fails(*show, "x.gif", status=fixture.USAGE, code="EINVAL", says=["plot x.gif", ".png or .svg"])
        self.fails(*show, "absent/x.png", status=FAILED, code="ENOENT", says=["plot absent/x.png", "cannot write"])
        self.fails(*show, "x.png", status=FAILED, code="ENOENT", says=["plot x.png", "gnuplot is not installed"],
                   environment={"PATH": str(self.folder)})
        self.assertFalse((self.folder / "x.png").exists())
        script = self.folder / "gnuplot"
        script.write_text("#!/bin/sh\necho Warning >&2\necho no ink >&2\nexit 1\n")
        script.chmod(0o755)
        self.fails(*show, "x.png", status=FAILED, code=("EIO", "EPIPE"), says=["plot x.png", "gnuplot failed: no ink"],
                   environment={"PATH": str(self.folder)})
        self.assertFalse((self.folder / "x.png").exists())


class Plugin(fixture.Test):
    def test_list(self):
        said = {row["name"]: row for row in self.json("plugin")["plugins"]}
        self.assertTrue(said["reference"]["ready"])
        text = self.vaccel("plugin").stdout
        for name in said:
            self.assertIn(name, text)

    def test_none(self):
        said = self.vaccel("plugin", environment={"VACCEL_PLUGIN_DIR": str(self.folder)}).stdout
        self.assertIn("no plugins found", said)

    def test_one(self):
        said = self.json("plugin", "reference")
        self.assertEqual(sorted(said), ["abi", "calls", "cause", "description", "file", "framework", "hardware", "keys",
                                        "name", "needs", "ops", "ready", "threads", "version"])
        self.assertEqual((said["name"], said["ready"], said["cause"]), ("reference", True, None))
        self.assertLessEqual({"noop", "sgemm", "dgemm"}, {row["name"] for row in said["ops"]})
        text = self.vaccel("plugin", "reference").stdout
        for words in (said["version"], said["description"], said["file"], said["threads"], said["hardware"], "sgemm"):
            self.assertIn(words, text)

    def test_file(self):
        path = self.json("plugin", "reference")["file"]
        self.assertEqual(self.json("plugin", path)["file"], path)
        shutil.copy(path, self.folder / "mine.so")
        self.assertEqual(self.json("plugin", "mine.so")["name"], "reference")

    def test_not_ready(self):
        self.config.write_text("[plugin reference]\nno_such_key = 1\n")
        said = self.json("plugin", "reference", "-t", self.local)
        self.assertFalse(said["ready"])
        self.assertIsNone(said["hardware"])
        self.assertIn("no_such_key", said["cause"])
        self.assertIn("not ready here", self.vaccel("plugin", "reference", "-t", self.local).stdout)

    def test_unknown(self):
        self.fails("plugin", "absent", status=FAILED, code="ENOENT", says=["plugin absent", "vaccel-absent.so"])
        (self.folder / "text.so").write_text("no object")
        self.fails("plugin", "text.so", status=FAILED, code="ELIBACC", says=["plugin ./text.so", "cannot load"])
        library = next(pathlib.Path("/lib").glob("*/libm.so.6"), None) or next(pathlib.Path("/lib64").glob("libm.so.6"))
        self.fails("plugin", library, status=FAILED, code="ENOEXEC", says=[str(library), "not a vAccel plugin"])


class Interrupt(fixture.Test):
    def test_unfinished_plot_is_removed(self):
        script = self.folder / "gnuplot"
        script.write_text('#!/bin/sh\necho started > "$HOME/started"\nexec sleep 60\n')
        script.chmod(0o755)
        stored = self.folder / "stored.json"
        stored.write_text(json.dumps(self.json("bench", "sgemm", "--sizes", "8", "--repeat", 1, "-t", self.local)))
        # The shell interrupts the whole group, as a terminal does.
        done = subprocess.run(
            ["setsid", "sh", "-c", '"$0" bench --from stored.json --plot x.png & pid=$!; '
             'while [ ! -e started ]; do sleep 0.05; done; test -e x.png || exit 9; trap "" TERM; kill -TERM 0; '
             'wait $pid; exit $?', fixture.PROGRAM], cwd=self.folder, check=False, timeout=60,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "HOME": str(self.folder)})
        self.assertEqual(done.returncode, 143)
        self.assertFalse((self.folder / "x.png").exists())


if __name__ == "__main__":
    fixture.main()
