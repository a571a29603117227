"""Names of stages, as experiments write them into measurements and figures read them."""

SAMPLED = "full, sampled"  # the stage of masks that are drawn from the full task's probabilities
BINS = 500  # of the histogram of mask probabilities (Figure 6)


def stage_at(stage: str, factor: float) -> str:
    """The name of a sweep's stage at one multiple of beta, as in tables: ``add@0.1``."""
    return f"{stage}@{factor:.3g}"


def stage_with(stage: str, factor: float) -> str:
    """As :func:`stage_at`, but at the beta itself the stage's own name."""
    return stage if factor == 1 else stage_at(stage, factor)
