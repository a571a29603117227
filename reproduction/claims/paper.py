"""Each claim in a few words, the paper's own words on it, and the section of the book that shows it."""

from __future__ import annotations

from typing import NamedTuple


class Passage(NamedTuple):
    """A claim in a few words, the paper's own, and where the book has its figure: a notebook's name and heading."""

    short: str
    reports: str
    section: str


PASSAGES = {
    1: Passage(
        "More sharing at inputs and outputs",
        "“more sharing in the input and output layers, less in the hidden layers”",
        "addmul#Shared-weights-by-layer",
    ),
    2: Passage(
        "× needs 3.8 times the weights of +", "“3.8 times more weights than addition”", "addmul#Size-of-the-modules"
    ),
    3: Passage(
        "FNN: the mask decides the operation",
        "“ignores the operator specification and performs the one corresponding to the mask instead”",
        "addmul#Answers-of-the-masked-network",
    ),
    4: Passage(
        "LSTM: mostly neither operation's result",
        "“invalid operations in roughly 70% of the cases”",
        "addmul#Answers-of-the-masked-network",
    ),
    5: Passage(
        "Without one operation, the other fails too", "“inverted masks do not perform well”", "addmul#Removing-a-module"
    ),
    6: Passage(
        "Two additions share hardly any weights",
        "“weight sharing is low”; “the performance decreases only slightly”",
        "double#Shared-weights-by-layer",
    ),
    7: Passage(
        "Pairs shown together or apart: no difference",
        "“No difference between the two LSTM variants is apparent”",
        "double#Removing-one-pair's-module",
    ),
    8: Passage(
        "SCAN: length and add-jump masks lose much",
        "“a big generalization gap on the ‘length’ and the ‘add jump’ splits, whereas the ‘add turn left’ caused only "
        "a slight degradation”",
        "scan#Accuracy-under-each-mask",
    ),
    9: Passage(
        "SCAN: JUMP's output weights go", "“Most weights corresponding to ‘JUMP’ are removed”", "scan#Removed-weights"
    ),
    10: Passage(
        "CIFAR-10: few weights carry a class",
        "“relatively few weights are removed”; the decrease is “substantial, ranging from 40 to 60%”",
        "cifar10#Answers-without-a-class's-weights",
    ),
    11: Passage(
        "CIFAR-10: a lost class is taken for its like",
        "“‘Airplane’ is confused with ‘bird’ and ‘ship’”; cat and dog “tend to be confused with each other”; truck and "
        "car are “highly related”",
        "cifar10#Answers-without-a-class's-weights",
    ),
    12: Passage(
        "Mask probabilities are near 0 and 1",
        "“the probability mass is usually concentrated at 0 and 1”",
        "alpha#Certainty-of-the-masks",
    ),
    13: Passage(
        "The choice of beta is not critical",
        "“not very sensitive to the exact value”; “transfers well between different network sizes”",
        "alpha#The-price-of-a-weight",
    ),
    14: Passage(
        "Small networks share more",
        "“underfitting NNs tend to share more weights”; “sharing still changes with increased network size”",
        "alpha#The-size-of-the-network",
    ),
    15: Passage(
        "Permuted MNIST: hardly any sharing while empty",
        "“only insignificant weight sharing as long as there is sufficient free space”; the last layer is “filling up "
        "first”",
        "permuted",
    ),
    16: Passage(
        "Full-task masks keep the accuracy", "“only a slight drop in performance”", "alpha#The-price-of-a-weight"
    ),
    17: Passage(
        "Permuted MNIST: favouring raises sharing",
        "“Decreasing probability of new weights forces increased sharing, but it is far from the ideal 100%”",
        "permuted",
    ),
    18: Passage(
        "Permuted MNIST: sharing begins when full",
        "“Only once all the capacity is filled up, weights start being shared”",
        "permuted",
    ),
    19: Passage(
        "CIFAR-10: without cats, dogs do better",
        "“removing exclusive feature detectors for one improves the performance of the other”",
        "cifar10#Answers-without-a-class's-weights",
    ),
    20: Passage(
        "Thresholding a mask is safe",
        "“the probability mass is usually concentrated at 0 and 1”, so that it is safe to threshold",
        "alpha#Certainty-of-the-masks",
    ),
    21: Passage(
        "P2: functions are not reused",
        "“typical NNs find it hard to learn to represent data in the same way on the different paths”",
        "double#Shared-weights-by-layer",
    ),
    22: Passage("Ours: sharing shows reuse", "not tested", "reuse#Shared-inner-weights"),
    23: Passage("Ours: reused modules carry over", "not tested", "reuse#Exchanged-inner-weights"),
    24: Passage("Ours: sharing follows the dose of reuse", "not tested", "reuse#A-dose-of-reuse"),
    25: Passage("Ours: a module is one thing", "not tested", "again#Found-twice"),
    26: Passage("Ours: a dearer module lies within", "not tested", "again#At-a-higher-price"),
    27: Passage(
        "Ours: inverted masks lack their ends",
        "“inverted masks do not perform well”",
        "again#Without-its-interface",
    ),
    28: Passage(
        "Ours: some splits of a transformer lose much",
        "“the performance degrades on samples excluded from the training set”, of LSTMs",
        "scan-transformer#Accuracy-under-each-mask",
    ),
    29: Passage("Ours: a transformer's JUMP goes", "of LSTMs", "scan-transformer#Removed-weights"),
    30: Passage("Ours: masks know more than their split", "not tested", "scan-transformer#Trained-on-a-split-alone"),
}
