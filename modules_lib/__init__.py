"""Which weights of a network do what? Differentiable weight masks, their training and their analysis."""

from modules_lib.analysis.chance import (
    ChanceTest,
    compare_with_chance,
    effect_test,
    magnitude_masks,
    random_masks,
    sharing_test,
    stability,
)
from modules_lib.analysis.compare import by_layer, common, evaluate, exclusive, iou, sharing, sharing_matrix
from modules_lib.masking.groups import heads
from modules_lib.masking.mask_files import fingerprint
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.masks import Masks
from modules_lib.masking.samplers import GumbelSigmoid, HardConcrete, Sampler, StraightThrough
from modules_lib.masking.selection import weights_only
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.training.alpha_search import Choice, choose_alpha
from modules_lib.training.find import find_masks
from modules_lib.training.loops import train_masks, train_weights
from modules_lib.training.mask_training import MaskTraining
from modules_lib.training.task_masks import TaskMasks

__all__ = [
    "ChanceTest",
    "Choice",
    "GumbelSigmoid",
    "HardConcrete",
    "MaskTraining",
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
    "heads",
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
