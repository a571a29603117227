"""Which weights of a network do what? Differentiable weight masks, their training and their analysis."""

from modules_lib.chance import (
    ChanceTest,
    compare_with_chance,
    effect_test,
    magnitude_masks,
    random_masks,
    sharing_test,
    stability,
)
from modules_lib.choosing import Choice, choose_alpha
from modules_lib.comparing import by_layer, common, evaluate, exclusive, iou, sharing, sharing_matrix
from modules_lib.finding import find_masks
from modules_lib.masked import MaskedModel, weights_only
from modules_lib.maskfiles import fingerprint
from modules_lib.masks import Masks, TaskMasks
from modules_lib.samplers import GumbelSigmoid, HardConcrete, Sampler, StraightThrough
from modules_lib.subnetworks import subnetwork
from modules_lib.training import train_masks, train_weights

__all__ = [
    "ChanceTest",
    "Choice",
    "GumbelSigmoid",
    "HardConcrete",
    "MaskedModel",
    "Masks",
    "Sampler",
    "StraightThrough",
    "TaskMasks",
    "by_layer",
    "choose_alpha",
    "common",
    "compare_with_chance",
    "effect_test",
    "evaluate",
    "exclusive",
    "find_masks",
    "fingerprint",
    "iou",
    "magnitude_masks",
    "random_masks",
    "sharing",
    "sharing_matrix",
    "sharing_test",
    "stability",
    "subnetwork",
    "train_masks",
    "train_weights",
    "weights_only",
]
