"""What :mod:`sitecustomize` does to modules of the library."""

FAILS = "the stage cat was made to fail"
NO_DATA = "train-images is not there and could not be downloaded (<no network>). Put the official files into data/."


def spoil_cifar(module):
    find_masks = module.LeaveOneOut.find_masks

    def failing(self, model, seed, stage, *others, **named):
        if stage == "cat":
            raise RuntimeError(FAILS)
        return find_masks(self, model, seed, stage, *others, **named)

    module.LeaveOneOut.find_masks = failing


def spoil_generated(module):
    generated = module.generated

    def unavailable(part="train", shape=(3, 32, 32), device="cpu"):
        if shape[0] == 1:
            raise module.MissingDataError(NO_DATA)
        return generated(part, shape, device)

    module.generated = unavailable
    from modules_lib.datasets.downloads import MissingDataError

    module.MissingDataError = MissingDataError


spoil = {"reproduction.experiments.cifar": spoil_cifar, "modules_lib.datasets.generated": spoil_generated}
