#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each option that the tool has is in its help, its manual page and its completion; nothing else is."""

import re
import shutil
import subprocess

import fixture

MANUAL = fixture.SOURCE / "src" / "cli"
COMPLETION = MANUAL / "vaccel.bash"


class Docs(fixture.Test):
    def commands(self):
        return self.vaccel("--print-options").stdout.split()

    def rows(self, command):
        return [line.split("\t") for line in self.vaccel("--print-options", command).stdout.splitlines()]

    def options(self, command):
        return {row[0]: row for row in self.rows(command) if row[0].startswith("--")}

    def test_there_are_commands(self):
        self.assertGreaterEqual(len(self.commands()), 5)

    def test_help(self):
        for command in self.commands():
            said = self.vaccel(command, "--help").stdout
            listed = set(re.findall(r"^ {2}(?:-\w, | {4})(--[a-z-]+)", said, re.M))
            self.assertEqual(listed, set(self.options(command)), command)

    def test_manual(self):
        overview = (MANUAL / "vaccel.1").read_text()
        for command in self.commands():
            self.assertIn(f".Xr vaccel-{command} 1", overview)
            page = (MANUAL / f"vaccel-{command}.1").read_text()
            items = {}
            for item in re.findall(r"^\.It (Fl .*)$", page, re.M):
                name = re.search(r"Fl Fl ([a-z-]+)", item)
                letter = re.search(r"^Fl (\w)(?: |$)", item)
                items["--" + name.group(1)] = ("-" + letter.group(1) if letter else "-", " Ar " in item)
            wanted = {name: (row[1], row[2] != "flag") for name, row in self.options(command).items()}
            self.assertEqual(items, wanted, command)

    def test_manual_names_operands(self):
        for command in self.commands():
            page = (MANUAL / f"vaccel-{command}.1").read_text()
            for row in self.rows(command):
                if row[2] == "operand":
                    self.assertIn(f".It Cm {row[0]}\n", page)

    def test_manual_is_clean(self):
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is not installed")
        pages = sorted(map(str, MANUAL.glob("*.1")))
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def complete(self, *words):
        """What the completion offers for the last of the words."""
        script = ('. "$1"; shift; COMP_WORDBREAKS=$\' \\t\\n:=\'; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  '_vaccel; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash", str(COMPLETION), fixture.PROGRAM, *words],
                              capture_output=True, text=True, check=False, cwd=self.folder)
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_completion(self):
        if not shutil.which("bash"):
            self.skipTest("bash is not installed")
        self.assertEqual(self.complete(""), set(self.commands()) | {"--help", "--version"})
        self.assertEqual(self.complete("pi"), {"ping"})
        for command in self.commands():
            self.assertEqual(self.complete(command, "--"), set(self.options(command)), command)
            for name, row in self.options(command).items():
                if row[2] == "choice":
                    self.assertEqual(self.complete(command, name, ""), set(row[3:]))
        self.assertLessEqual({"sgemm", "rtt"}, self.complete("bench", ""))
        self.assertEqual(self.complete("bench", "--from", "vacc"), {"vaccel.conf"})

    def test_completion_of_urls(self):
        if not shutil.which("bash"):
            self.skipTest("bash is not installed")
        self.assertEqual(self.complete("info", "-t", "sh"), {"shm:/run/vaccel/"})
        (self.folder / "a.sock").touch()
        self.assertEqual(self.complete("info", "--transport", "shm", ":", f"{self.folder}/a"), {f"{self.folder}/a.sock"})


if __name__ == "__main__":
    fixture.main()
