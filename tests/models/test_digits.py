#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_digits.py KIND: every held-out digit, as the guest sees it answered, beside what TensorFlow says in Python on the host.

KIND is shm (with local), uml or qemu. The same class for each picture, probabilities within 1e-5.
"""

import json
import sys
import unittest

import fixture

KIND = sys.argv[1]
CLOSE = 1e-5


class Digits(fixture.Test):
    """One daemon, one run of vaccel classify for all pictures, where the clients are."""

    def setUp(self):
        super().setUp()
        self.pictures = self.folder / "pictures"
        fixture.run(fixture.SOURCE / "models/digits/pictures", self.pictures)
        self.labels = json.loads((self.pictures / "labels.json").read_text())
        self.files = [str(self.pictures / name) for name in self.labels]
        self.model = fixture.SOURCE / "models/store/digits"
        self.expected = fixture.answers(self.model, self.files)
        self.assertGreater(len(self.expected), 300)

    def compare(self, text):
        rows = json.loads(text)["images"]
        self.assertEqual([row["image"] for row in rows], self.files)
        worst, right = 0, 0
        for row in rows:
            truth = self.expected[row["image"]]
            self.assertEqual(row["labels"][0]["index"], max(range(10), key=truth.__getitem__), row["image"])
            self.assertEqual(len(row["labels"]), 10)
            self.assertEqual((row["width"], row["height"]), (8, 8))
            for label in row["labels"]:
                worst = max(worst, abs(label["probability"] - truth[label["index"]]))
                self.assertEqual(label["label"], str(label["index"]))
            right += row["labels"][0]["label"] == self.labels[row["image"].rsplit("/", 1)[1]]
        print(f"{len(rows)} pictures, {right} right, the same class for each; probabilities differ by {worst:.3g} at most",
              file=sys.stderr)
        self.assertLessEqual(worst, CLOSE)
        # What models/digits/README.md says of it.
        measured = json.loads((fixture.SOURCE / "models/digits/heldout/heldout.json").read_text())
        self.assertEqual((len(rows), right), (measured["held_out"], measured["right"]))

    def words(self, url):
        return [fixture.VACCEL, "classify", "--transport", url, "--model", "digits", "-k", 10, "--json", *self.files]

    def test_local(self):
        if KIND != "shm":
            self.skipTest("with shm")
        config = self.folder / "local.conf"
        config.write_text(fixture.configuration(self.model.parent))
        self.compare(fixture.run(*self.words(f"local:{config}")))

    def test_kind(self):
        daemon = self.daemon(self.model.parent)
        words = self.words(daemon.url)
        if KIND != "shm":
            words = fixture.guest_words(KIND, MODULE, daemon.socket, *self.words("virtio:/dev/vaccel0"))
        self.compare(fixture.run(*words, timeout=900))


if __name__ == "__main__":
    fixture.need_tensorflow()
    MODULE = None if KIND == "shm" else fixture.build_module(KIND)
    fixture.main()
