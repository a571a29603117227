"""The paper's own words on each claim, and the section of the book that shows it."""

from __future__ import annotations

from typing import NamedTuple


class Passage(NamedTuple):
    """The paper's words on a claim, and where the book has its figure: a notebook's name and heading."""

    reports: str
    section: str


PASSAGES = {
    1: Passage(
        "“more sharing in the input and output layers, less in the hidden layers”", "addmul#Shared-weights-by-layer"
    ),
    2: Passage("“3.8 times more weights than addition”", "addmul#Size-of-the-modules"),
    3: Passage(
        "“ignores the operator specification and performs the one corresponding to the mask instead”",
        "addmul#Answers-of-the-masked-network",
    ),
    4: Passage("“invalid operations in roughly 70% of the cases”", "addmul#Answers-of-the-masked-network"),
    5: Passage("“inverted masks do not perform well”", "addmul#Removing-a-module"),
    6: Passage(
        "“weight sharing is low”; “the performance decreases only slightly”",
        "double#Shared-weights-by-layer",
    ),
    7: Passage("“No difference between the two LSTM variants is apparent”", "double#Removing-one-pair's-module"),
    8: Passage(
        "“a big generalization gap on the ‘length’ and the ‘add jump’ splits, whereas the ‘add turn left’ caused only "
        "a slight degradation”",
        "scan#Accuracy-under-each-mask",
    ),
    9: Passage("“Most weights corresponding to ‘JUMP’ are removed”", "scan#Removed-weights"),
    10: Passage(
        "“relatively few weights are removed”; the decrease is “substantial, ranging from 40 to 60%”",
        "cifar10#Answers-without-a-class's-weights",
    ),
    11: Passage(
        "“‘Airplane’ is confused with ‘bird’ and ‘ship’”; cat and dog “tend to be confused with each other”; truck and "
        "car are “highly related”",
        "cifar10#Answers-without-a-class's-weights",
    ),
    12: Passage("“the probability mass is usually concentrated at 0 and 1”", "alpha#Certainty-of-the-masks"),
    13: Passage(
        "“not very sensitive to the exact value”; “transfers well between different network sizes”",
        "alpha#The-price-of-a-weight",
    ),
    14: Passage(
        "“underfitting NNs tend to share more weights”; “sharing still changes with increased network size”",
        "alpha#The-size-of-the-network",
    ),
    15: Passage(
        "“only insignificant weight sharing as long as there is sufficient free space”; the last layer is “filling up "
        "first”",
        "permuted",
    ),
    16: Passage("“only a slight drop in performance”", "alpha#The-price-of-a-weight"),
    17: Passage(
        "“Decreasing probability of new weights forces increased sharing, but it is far from the ideal 100%”",
        "permuted",
    ),
    18: Passage("“Only once all the capacity is filled up, weights start being shared”", "permuted"),
    19: Passage(
        "“removing exclusive feature detectors for one improves the performance of the other”",
        "cifar10#Answers-without-a-class's-weights",
    ),
    20: Passage(
        "“the probability mass is usually concentrated at 0 and 1”, so that it is safe to threshold",
        "alpha#Certainty-of-the-masks",
    ),
    21: Passage(
        "“typical NNs find it hard to learn to represent data in the same way on the different paths”",
        "double#Shared-weights-by-layer",
    ),
    22: Passage("not tested", "reuse#Shared-inner-weights"),
    23: Passage("not tested", "reuse#Exchanged-inner-weights"),
    24: Passage("not tested", "reuse#A-dose-of-reuse"),
    25: Passage("not tested", "again#Found-twice"),
    26: Passage("not tested", "again#At-a-higher-price"),
    27: Passage("“inverted masks do not perform well”", "again#Without-its-interface"),
}
