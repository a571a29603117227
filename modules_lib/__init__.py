"""Which weights of a network do what? Differentiable weight masks, their training and their analysis."""

from modules_lib.choosing import Choice, choose_alpha
from modules_lib.masked import MaskedModel, subnetwork, weights_only
from modules_lib.masks import Masks, fingerprint, sharing
from modules_lib.training import train_masks, train_weights

__all__ = [
    "Choice",
    "MaskedModel",
    "Masks",
    "choose_alpha",
    "fingerprint",
    "sharing",
    "subnetwork",
    "train_masks",
    "train_weights",
    "weights_only",
]
