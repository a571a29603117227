"""On the path of a Python process, this makes parts of the book fail as they could elsewhere: see test_building.py.

The stage *cat* of CIFAR-10 fails in the middle of its run, and images of MNIST's shape cannot be had.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder

from modules_lib_failures import spoil  # beside this file


class Saboteur(MetaPathFinder):
    """Spoils the modules that it knows as soon as they are imported."""

    def find_spec(self, name, path, target=None):
        if name not in spoil:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        load = spec.loader.exec_module

        def load_and_spoil(module):
            load(module)
            spoil[name](module)

        spec.loader.exec_module = load_and_spoil
        return spec


sys.meta_path.insert(0, Saboteur())
