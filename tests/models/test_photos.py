#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Photographs, pictures like them, and MobileNetV2, local and over shm: all thousand probabilities beside TensorFlow's, which
decodes, scales, normalises and runs in Python. And the pictures that come with the tree, with the answers that came with them."""

import json
import sys
import unittest

import fixture

# Decoding is bit for bit the same, scaling to 1/1000 of a pixel's step, which fifty layers may make more of.
CLOSE = 5e-4


class Photos(fixture.Test):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "local.conf"

    def transports(self, store):
        self.config.write_text(fixture.configuration(store))
        return f"local:{self.config}", self.daemon(store).url

    def classify(self, url, model, k, files):
        return json.loads(fixture.run(fixture.VACCEL, "classify", "-t", url, "-m", model, "-k", k, "-j", *files))["images"]

    def test_mobilenetv2(self):
        store = fixture.zoo("mobilenetv2")
        real = fixture.real_photographs()
        self.assertGreater(len(real), 1, "scikit-learn has no photographs")
        files = fixture.photographs(5000, 65536, 262144, 1048576) + real
        truth = fixture.answers(store / "mobilenetv2", files)
        tops = {max(range(1000), key=truth[file].__getitem__) for file in files}
        self.assertGreater(len(tops), 1, "the model says the same to all pictures: the test is blind")
        for url in self.transports(store):
            worst = 0
            for row in self.classify(url, "mobilenetv2", 1000, files):
                expected = truth[row["image"]]
                self.assertEqual(row["labels"][0]["index"], max(range(1000), key=expected.__getitem__))
                self.assertEqual(row["classes"], 1000)
                worst = max(worst, *(abs(label["probability"] - expected[label["index"]]) for label in row["labels"]))
            print(f"{url.split(':')[0]}: probabilities differ by {worst:.3g} at most", file=sys.stderr)
            self.assertLessEqual(worst, CLOSE)

    def test_shipped(self):
        """What the tree says of its own pictures is what comes out."""
        about = json.loads((fixture.SOURCE / "models/digits/heldout/heldout.json").read_text())
        files = [str(fixture.SOURCE / "models/digits/heldout" / picture["file"]) for picture in about["pictures"]]
        self.assertGreaterEqual(len(files), 10)
        for url in self.transports(fixture.SOURCE / "models/store"):
            for row, picture in zip(self.classify(url, "digits", 3, files), about["pictures"]):
                self.assertEqual([label["label"] for label in row["labels"]], [label for label, _ in picture["top"]])
                for label, (_, probability) in zip(row["labels"], picture["top"]):
                    self.assertAlmostEqual(label["probability"], probability, delta=1e-5)


if __name__ == "__main__":
    fixture.main()
