#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line: help, version, and what is refused with which words."""

import os
import subprocess

import fixture
from fixture import OK, USAGE

COMMANDS = ["info", "ping", "sgemm", "bench", "plugin", "stats", "classify", "infer", "models", "cipher"]


class Usage(fixture.Test):
    def test_help(self):
        said = self.vaccel("--help").stdout
        for command in COMMANDS:
            self.assertIn(f"  {command} ", said)
            self.assertIn(f"usage: vaccel {command} ", self.vaccel(command, "--help").stdout)

    def test_version(self):
        self.assertRegex(self.vaccel("--version").stdout, r"^vaccel \d+\.\d+\.\d+\n$")

    def test_nothing(self):
        done = self.vaccel(status=USAGE)
        self.assertEqual(done.stdout, "")
        self.assertIn("usage:", done.stderr)

    def test_unknown_command(self):
        self.assertIn('command "infos": unknown', self.vaccel("infos", status=USAGE).stderr)
        self.assertIn('option "--infos": unknown', self.vaccel("--infos", status=USAGE).stderr)

    def test_unknown_option(self):
        for command in COMMANDS:
            self.fails(command, "--frobnicate", status=USAGE, code="EINVAL",
                       says=[f"vaccel {command}: ", "option --frobnicate: unknown"])
            self.fails(command, "-Z", status=USAGE, code="EINVAL", says=["option -Z: unknown"])

    def test_values(self):
        for arguments, says in {
            ("ping", "-c", "0"): ["--count", '"0"', "between 1 and"],
            ("ping", "-c", "x"): ["--count", '"x"', "whole number"],
            ("ping", "--count=-1"): ["--count", '"-1"', "whole number"],
            ("sgemm", "-m", "1e3"): ["--rows", '"1e3"', "whole number"],
            ("sgemm", "-m", " 1"): ["--rows", '" 1"', "whole number"],
            ("sgemm", "-m", "99999999999999999999"): ["--rows", "whole number"],
            ("sgemm", "--alpha", "one"): ["--alpha", '"one"', "finite number"],
            ("sgemm", "--beta", "nan"): ["--beta", '"nan"', "finite number"],
            ("sgemm", "--order", "rows"): ["--order", '"rows"', "row col"],
            ("sgemm", "--plain=1"): ["--plain", "cannot be given a value"],
            ("bench", "sgemm", "--sizes", "1,,2"): ["--sizes", '"1,,2"', "commas"],
            ("stats", "--watch", "0"): ["--watch", '"0"', "between 1 and"],
            ("stats", "--metrics", "here"): ["here", "neither unix:PATH nor ADDRESS:PORT"],
            ("stats", "--metrics", "unix:"): ["neither unix:PATH nor ADDRESS:PORT"],
            ("stats", "--metrics", "127.0.0.1:0"): ["neither unix:PATH nor ADDRESS:PORT"],
            ("stats", "--metrics", "unix:/x", "-t", "local:"): ["--metrics", "exclude each other"],
            ("bench", "sgemm", "--sizes", "0"): ["--sizes", "at least 1"],
            ("bench", "sgemm", "--sizes", ",".join(["1"] * 65)): ["--sizes", "too many"],
        }.items():
            with self.subTest(arguments):
                self.fails(*arguments, status=USAGE, code="EINVAL", says=says)

    def test_missing_value(self):
        for arguments in (("--json", "sgemm", "-m"), ("--json", "sgemm", "--rows")):
            done = self.vaccel(*arguments[1:], status=USAGE)
            self.assertIn("option --rows: value M is missing", done.stderr)

    def test_operands(self):
        self.fails("info", "here", status=USAGE, code="EINVAL", says=['operand "here"', "too many"])
        self.fails("bench", status=USAGE, code="EINVAL", says=["operand BENCH", "missing"])
        self.fails("bench", "rtt", "--against", "local:", status=USAGE, code="EINVAL", says=["--against", "--transport"])
        self.fails("bench", "rtt", "--models", "digits", status=USAGE, code="EINVAL", says=["--models", "rtt has none"])
        self.fails("bench", "classify", "--models", "digits,nothing", status=USAGE, code="EINVAL",
                   says=["--models", '"nothing"', "mobilenetv2 resnet50 digits"])
        self.fails("bench", "warp", status=USAGE, code="ENOENT", says=['bench "warp"', "unknown"])
        self.fails("plugin", "-t", "shm:/x", status=USAGE, code="EINVAL", says=["transport shm:/x", "local:"])

    def test_output_that_cannot_be_written(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([fixture.PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
        self.assertNotEqual(done.returncode, OK)
        self.assertIn("standard output: cannot write", done.stderr)


if __name__ == "__main__":
    fixture.main()
