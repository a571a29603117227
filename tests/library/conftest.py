"""A fixture of the tests of captured steps."""

import functools

import pytest

from modules_lib.training.cuda_graphs import CAPTURING
from tests.library.recorded_steps import Recorded


@pytest.fixture
def recorded(monkeypatch):
    """The CPU captures steps; all stand-ins that are made."""
    made = []
    monkeypatch.setitem(CAPTURING, "cpu", functools.partial(Recorded, all_=made))
    return made
