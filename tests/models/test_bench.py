#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_bench.py [uml]: vaccel bench classify with a small model: what comes out, never how large a number is; with "uml" a guest
is among the sides."""

import json
import math
import os
import sys
import unittest

import fixture

GUESTS = sys.argv[1] if len(sys.argv) > 1 else "none"
SIDES = ["local", "shm", "8 sessions", "8 sessions, batched", "infer, local", "infer, shm"]
RATIOS = {"shm_over_local_digits", "throughput_batched_over_single_digits", "infer_shm_over_local_digits",
          "infer_copied_bytes_digits", "guest_bytes_needed", "tensorflow_bytes_needed", "guest_bytes_over_tensorflow"}


class Bench(fixture.Test):
    def test_classify(self):
        env = dict(os.environ, TMPDIR=str(self.folder))
        env.pop("VACCEL_TRANSPORT", None)
        said = json.loads(fixture.run(fixture.VACCEL, "bench", "classify", "--models", "digits", "--sizes", "4096,65536",
                                      "--guests", GUESTS, "--repeat", 6, "--json", env=env))
        sides = SIDES[:2] + ([GUESTS] if GUESTS != "none" else []) + SIDES[2:]
        self.assertEqual([side["name"] for side in said["sides"]], sides)
        self.assertEqual([(row["bytes"], row["side"]) for row in said["rows"]],
                         [(size, side) for size in (4096, 65536) for side in sides])
        for row in said["rows"]:
            self.assertEqual((row["model"], row["samples"], row["verified"]), ("digits", 6, True))
            for key in ("median_ns", "pictures_per_second", "client_cpu_ns"):
                self.assertGreater(row[key], 0)
            for key in ("decode_ns", "prepare_ns", "run_ns"):
                if row["side"].startswith("infer"):
                    self.assertIsNone(row[key])
                else:
                    self.assertGreater(row[key], 0)
        guests = {f"{kind}_over_host{model}_{size}" for kind in sides if kind == GUESTS for model in ("", "_digits")
                  for size in (4096, 65536)}
        self.assertEqual(set(said["ratios"]), RATIOS | guests)
        for number in said["ratios"].values():
            self.assertTrue(math.isfinite(number) and number > 0)
        # Ten probabilities, and the descriptions of one input and one output; not the input, which is 256 bytes, and is used
        # where it lies.
        self.assertLess(said["ratios"]["infer_copied_bytes_digits"], 10 * 4 + 6 * 208)
        self.assertLess(said["ratios"]["guest_bytes_over_tensorflow"], 0.1)
        self.assertEqual(list(self.folder.glob("vaccel-bench.*")), [])


if __name__ == "__main__":
    if GUESTS != "none":
        fixture.build_module(GUESTS)
    fixture.main()
