# SPDX-License-Identifier: Apache-2.0
"""The units of systemd, judged by systemd itself: nothing in them is misspelt, and they expose little."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

VACCELD, UNIT, SOURCE = (os.environ.get(name, "") for name in ("VACCELD", "VACCEL_UNIT", "VACCEL_PACKAGING"))
# Of 100; the files have 8 to 10.
EXPOSURE = 15


class Units(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-units."))
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={VACCELD}", pathlib.Path(UNIT).read_text(encoding="utf-8"))
        self.unit = self.folder / "vacceld@x.service"
        self.unit.write_text(self.text)
        for kind in "vacceld", "vacceld-metrics":
            shutil.copy(f"{SOURCE}/{kind}@.socket", self.folder / f"{kind}@x.socket")

    def analyze(self, *arguments):
        done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, cwd=self.folder,
                              check=False, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def verify(self):
        return self.analyze("verify", "--man=no", "./vacceld@x.service", "./vacceld@x.socket",
                            "./vacceld-metrics@x.socket")

    def exposed(self):
        return self.analyze("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}",
                            "./vacceld@x.service")[0] != 0

    def add_examples(self):
        (self.folder / "vacceld@x.service.d").mkdir()
        for name in ("gpu", "afalg", "cryptodev"):
            shutil.copy(f"{SOURCE}/vacceld-{name}.conf", self.folder / f"vacceld@x.service.d/{name}.conf")

    def test_verify(self):
        self.assertEqual(self.verify(), (0, "", ""))
        self.add_examples()
        self.assertEqual(self.verify(), (0, "", ""))

    def test_exposure(self):
        self.assertFalse(self.exposed())
        self.add_examples()
        self.assertFalse(self.exposed())

    def test_the_judge_sees_mistakes(self):
        self.unit.write_text(self.text.replace("ProtectSystem=", "ProtectSystems="))
        self.assertIn("Unknown key", self.verify()[2])
        self.unit.write_text(self.text.replace("SystemCallFilter=", "SystemCallFilter=nonsense "))
        self.assertIn("nonsense", self.verify()[2])
        self.unit.write_text(re.sub(r"(?m)^(PrivateNetwork|CapabilityBoundingSet|SystemCallFilter|DynamicUser)=.*$", "",
                                    self.text))
        self.assertTrue(self.exposed())


if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not installed", file=sys.stderr)
        sys.exit(77)
    unittest.main()
