"""The house has floors: a file imports from its own room and from those below, never from above, and in no circle.

Imports are read from the source, those for types alone and those within functions included.
"""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From the ground up; rooms in one tuple stand side by side and do not see one another.
LIBRARY = ("support", "models", ("datasets", "masking"), "training", "analysis")
REPRODUCTION = ("protocol", "experiments", "runs", "claims", "figures", "notebook", "pages")
FLOORS = [
    *((f"modules_lib.{room}" for room in ([rooms] if isinstance(rooms, str) else rooms)) for rooms in LIBRARY),
    ["modules_lib"],  # the public names
    *([f"reproduction.{room}"] for room in REPRODUCTION),
    ["reproduction"],  # the command line
]
FLOOR = {room: floor for floor, rooms in enumerate(map(list, FLOORS)) for room in rooms}
MOST_FILES, MOST_LINES = 13, 310


def files():
    return sorted([*ROOT.glob("modules_lib/**/*.py"), *ROOT.glob("reproduction/**/*.py")])


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in files()}


def room(name: str) -> str:
    """The room of a module; what is no room belongs to the package's own face or command line."""
    first_two = ".".join(name.split(".")[:2])
    return first_two if first_two in FLOOR else name.split(".")[0]


def imported(path: Path) -> set[str]:
    """Every module of the project that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return {name for name in found if name in MODULES} - {module(path)}


@pytest.mark.parametrize("path", files(), ids=module)
def test_a_file_imports_from_its_own_floor_and_below(path):
    own = room(module(path))
    for name in imported(path):
        other = room(name)
        assert own == other or FLOOR[other] < FLOOR[own], (
            f"{module(path)} imports {name}, but {other} is not below {own}: move what both need to a lower room"
        )


def test_no_imports_go_in_a_circle():
    left = {name: imported(path) for name, path in MODULES.items()}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, f"these modules import one another in a circle: {', '.join(sorted(left))}"


def test_rooms_and_files_can_be_taken_in_at_a_glance():
    for folder in {path.parent for path in files()}:
        inside = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(inside) <= MOST_FILES, f"{folder} has {len(inside)} files side by side"
    for path in files():
        lines = len(path.read_text(encoding="utf8").splitlines())
        assert lines <= MOST_LINES, f"{path} has {lines} lines"
    library = sum(len(path.read_text(encoding="utf8").splitlines()) for path in ROOT.glob("modules_lib/**/*.py"))
    assert library < 6850
