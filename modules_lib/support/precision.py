"""The type in which products are computed: float32, bfloat16, or the one that the machine does best."""

import torch

from modules_lib.support.checks import check_choice

PRECISIONS = ("float32", "bfloat16", "auto")


def product_type(precision: str) -> torch.dtype | None:
    """Find the type of products: None for the model's own.

    Raises:
        ValueError: there is no such precision.
    """
    check_choice("precision", precision, PRECISIONS)
    return torch.bfloat16 if precision == "bfloat16" or (precision == "auto" and native_bfloat16()) else None


def native_bfloat16() -> bool:
    """Tell whether the machine multiplies in bfloat16 without a detour."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
