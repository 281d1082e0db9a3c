# SPDX-License-Identifier: Apache-2.0
"""The hand-written digits that come with scikit-learn, as pictures, and which of them the model has never seen.

1,797 pictures of 8 x 8 grey dots with values 0 to 16, by 43 writers. A dot of value v is a pixel of round(v * 255 / 16).
A fifth of each digit is held out; neither training nor the choice of when to stop sees any of those.
"""

import sys

import numpy

sys.dont_write_bytecode = True
HELD_OUT = 0.2
SPLIT_SEED = 7
SIDE = 8


def load():
    """(pixels as uint8 [n, 8, 8], labels [n])"""
    from sklearn.datasets import load_digits  # pylint: disable=import-outside-toplevel # slow, and not always there
    digits = load_digits()
    return numpy.round(digits.images * (255 / 16)).astype(numpy.uint8), digits.target


def split(labels):
    """(indices to train with, indices held out), each in order: of each digit the same part is held out."""
    shuffle = numpy.random.RandomState(SPLIT_SEED)
    held_out = []
    for digit in range(10):
        of_it = numpy.flatnonzero(labels == digit)
        held_out += list(shuffle.permutation(of_it)[:round(HELD_OUT * len(of_it))])
    held_out = numpy.sort(numpy.array(held_out))
    return numpy.setdiff1d(numpy.arange(len(labels)), held_out), held_out
