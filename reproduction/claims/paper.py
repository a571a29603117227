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
        "addmul#The-operations-share-more-at-both-ends-than-between",
    ),
    2: Passage(
        "× needs 3.8 times the weights of +",
        "“3.8 times more weights than addition”",
        "addmul#Multiplication-keeps-more-weights-than-addition",
    ),
    3: Passage(
        "FNN: the mask decides the operation",
        "“ignores the operator specification and performs the one corresponding to the mask instead”",
        "addmul#The-FNN-mostly-obeys-the-mask,-the-LSTM-often-gives-neither-result",
    ),
    4: Passage(
        "LSTM: mostly neither operation's result",
        "“invalid operations in roughly 70% of the cases”",
        "addmul#The-FNN-mostly-obeys-the-mask,-the-LSTM-often-gives-neither-result",
    ),
    5: Passage(
        "Without one operation, the other fails too",
        "“inverted masks do not perform well”",
        "addmul#At-laptop-scale,-no-operation-works-without-the-other's-weights",
    ),
    6: Passage(
        "Two additions share hardly any weights",
        "“weight sharing is low”; “the performance decreases only slightly”",
        "double#Two-additions-share-few-weights",
    ),
    7: Passage(
        "Pairs shown together or apart: no difference",
        "“No difference between the two LSTM variants is apparent”",
        "double#Without-one-pair's-weights,-the-FNN-still-adds-the-other-pair",
    ),
    8: Passage(
        "SCAN: length and add-jump masks lose much",
        "“a big generalization gap on the ‘length’ and the ‘add jump’ splits, whereas the ‘add turn left’ caused only "
        "a slight degradation”",
        "scan#The-add-jump-and-length-masks-lose-most-on-their-own-test-sets",
    ),
    9: Passage(
        "SCAN: JUMP's output weights go",
        "“Most weights corresponding to ‘JUMP’ are removed”",
        "scan#The-add-jump-mask-removes-JUMP's-output-weights-above-all",
    ),
    10: Passage(
        "CIFAR-10: few weights carry a class",
        "“relatively few weights are removed”; the decrease is “substantial, ranging from 40 to 60%”",
        "cifar10#Without-its-weights,-a-class-is-taken-for-similar-ones",
    ),
    11: Passage(
        "CIFAR-10: a lost class is taken for its like",
        "“‘Airplane’ is confused with ‘bird’ and ‘ship’”; cat and dog “tend to be confused with each other”; truck and "
        "car are “highly related”",
        "cifar10#Without-its-weights,-a-class-is-taken-for-similar-ones",
    ),
    12: Passage(
        "Mask probabilities are near 0 and 1",
        "“the probability mass is usually concentrated at 0 and 1”",
        "alpha#At-laptop-scale,-many-probabilities-stay-undecided",
    ),
    13: Passage(
        "The choice of beta is not critical",
        "“not very sensitive to the exact value”; “transfers well between different network sizes”",
        "alpha#The-price-decides-how-much-is-kept,-and-shared",
    ),
    14: Passage(
        "Small networks share more",
        "“underfitting NNs tend to share more weights”; “sharing still changes with increased network size”",
        "alpha#The-largest-network-shares-least",
    ),
    15: Passage(
        "Permuted MNIST: hardly any sharing while empty",
        "“only insignificant weight sharing as long as there is sufficient free space”; the last layer is “filling up "
        "first”",
        "permuted",
    ),
    16: Passage(
        "Full-task masks keep the accuracy",
        "“only a slight drop in performance”",
        "alpha#The-price-decides-how-much-is-kept,-and-shared",
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
        "cifar10#Without-its-weights,-a-class-is-taken-for-similar-ones",
    ),
    20: Passage(
        "Thresholding a mask is safe",
        "“the probability mass is usually concentrated at 0 and 1”, so that it is safe to threshold",
        "alpha#At-laptop-scale,-many-probabilities-stay-undecided",
    ),
    21: Passage(
        "P2: functions are not reused",
        "“typical NNs find it hard to learn to represent data in the same way on the different paths”",
        "double#Two-additions-share-few-weights",
    ),
    22: Passage(
        "Ours: sharing shows reuse", "not tested", "reuse#Where-reuse-was-built-in,-the-pairs-share-up-to-the-ceiling"
    ),
    23: Passage(
        "Ours: reused modules carry over", "not tested", "reuse#A-reused-module-serves-the-other-pair,-others-do-not"
    ),
    24: Passage(
        "Ours: sharing follows the dose of reuse",
        "not tested",
        "reuse#The-more-alike-the-computations,-the-more-is-shared",
    ),
    25: Passage("Ours: a module is one thing", "not tested", "again#A-second-training-finds-most-of-a-module-again"),
    26: Passage(
        "Ours: a dearer module lies within",
        "not tested",
        "again#A-higher-price-takes-weights-away-and-hardly-chooses-others",
    ),
    27: Passage(
        "Ours: inverted masks lack their ends",
        "“inverted masks do not perform well”",
        "again#With-the-outer-layers-back,-most-answers-stay-wrong",
    ),
    28: Passage(
        "Ours: other CNNs lose the class, too",
        "not tested",
        "cifar10#Without-dropout-little-changes,-and-the-reference-mask-of-a-ResNet-loses-too-much",
    ),
}
