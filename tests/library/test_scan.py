"""SCAN: the commands, actions and splits that the grammar gives are the official ones."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from modules_lib.datasets import downloads as files
from modules_lib.datasets import scan
from modules_lib.datasets.scan import Scan, commands, interpret, split
from tools import simple_split

SIZES = {
    "simple": (16_728, 4_182),
    "length": (16_990, 3_920),
    "add-jump": (14_670, 7_706),
    "add-turn-left": (21_890, 1_208),
}
FILES = {
    "simple": "simple_split/tasks_{}_simple.txt",
    "length": "length_split/tasks_{}_length.txt",
    "add-jump": "add_prim_split/tasks_{}_addprim_jump.txt",
    "add-turn-left": "add_prim_split/tasks_{}_addprim_turn_left.txt",
}


@pytest.fixture(scope="module")
def official():
    """The folder of the official files, where there is one."""
    folder = files.data_folder() / "SCAN"
    if not (folder / "tasks.txt").exists():
        pytest.skip(f"the official files are not in {folder}: clone github.com/brendenlake/SCAN there")
    return folder


def read(path: Path):
    pairs = (line.removeprefix("IN: ").split(" OUT: ") for line in path.read_text(encoding="utf8").splitlines())
    return [(command, actions.split()) for command, actions in pairs]


def test_the_grammar_gives_the_official_commands_and_actions(official):
    every = commands()
    assert len(every) == len(set(every)) == 20_910
    assert {command: interpret(command) for command in every} == dict(read(official / "tasks.txt"))


@pytest.mark.parametrize("name", SIZES)
def test_the_splits_are_the_official_ones(official, name):
    for part, ours, size in zip(("train", "test"), split(name), SIZES[name], strict=True):
        theirs = read(official / FILES[name].format(part))
        assert len(ours) == size
        assert Counter(ours) == Counter(command for command, _ in theirs)


@pytest.mark.parametrize("name", SIZES)
def test_splits_need_no_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_DATA", str(tmp_path))
    train, test = split(name)
    assert (len(train), len(test)) == SIZES[name] and not set(train) & set(test)
    assert not [*tmp_path.iterdir()]


def test_the_bits_of_the_simple_split_are_made_from_the_official_file(official, tmp_path, monkeypatch, capsys):
    shipped, made = scan.SIMPLE_FILE.read_bytes(), tmp_path / "bits"
    monkeypatch.setattr(scan, "SIMPLE_FILE", made)
    monkeypatch.setattr("sys.argv", ["simple_split", str(official / FILES["simple"].format("test"))])
    simple_split.main()
    assert made.read_bytes() == shipped and len(shipped) < 4000
    assert "has 2614 bytes" in capsys.readouterr().out


def test_the_bits_are_those_of_the_commands_that_are_packed():
    """No official file is needed to see that packing and reading agree."""
    assert scan.pack(set(split("simple")[1])) == scan.SIMPLE_FILE.read_bytes()
    with pytest.raises(ValueError, match="'fly twice' is not a SCAN command"):
        scan.pack({"walk", "fly twice"})


def test_another_file_than_the_official_one_is_refused(tmp_path):
    other = tmp_path / "tasks_test_simple.txt"
    other.write_text("IN: walk OUT: I_WALK\n")
    with pytest.raises(ValueError, match="is not the authors' file: its MD5 sum is not 4986"):
        simple_split.tested(other)


@pytest.mark.parametrize(
    ("command", "actions"),
    [
        ("jump", "JUMP"),
        ("turn opposite left", "TURN_LEFT TURN_LEFT"),
        ("walk around right", "TURN_RIGHT WALK " * 4),
        ("run twice and look left thrice", "RUN RUN " + "TURN_LEFT LOOK " * 3),
        ("turn around left twice after jump", "JUMP " + "TURN_LEFT " * 8),
    ],
)
def test_examples(command, actions):
    assert interpret(command) == [f"I_{action}" for action in actions.split()]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("hop twice", "'hop' is not a word of SCAN; the words are walk, look, run, jump, turn, left"),
        (
            "jump twice left",
            "'jump twice left' is not a SCAN command: 'jump twice left' is no act. Allowed are",
        ),
        ("turn", "'turn' is no act.*turn needs left or right"),
        ("walk and", "a phrase is empty"),
        ("", "a phrase is empty"),
        ("walk and run and jump", "it joins 3 phrases"),
        ("opposite left walk", "is no act"),
    ],
)
def test_what_is_no_command_is_refused_with_what_is_allowed(command, message):
    with pytest.raises(ValueError, match=message):
        interpret(command)


def test_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="Unknown split 'long'; it must be one of simple, add-jump, length, add-"):
        split("long")


def test_numbers_say_the_same_as_words():
    chosen = ["jump twice and turn left", "walk"]
    data = Scan.of(chosen)
    for i, command in enumerate(chosen):
        words = [scan.WORDS[w] for w in data.commands[i].tolist() if w >= 0]
        answer = [a for a in data.actions[i].tolist() if a >= 0]
        assert " ".join(words) == command and answer[-1] == scan.END
        assert [scan.ACTIONS[a] for a in answer[:-1]] == interpret(command)
    many = Scan.of(split("add-jump")[0])
    (batch, _, _), _ = many.batch(4000, 0, "x")
    jumps = (batch[:, 0] == scan.WORDS.index("jump")) & (batch[:, 1] == -1)
    assert abs(float(jumps.double().mean()) - 1467 / 14_670) < 0.024  # five standard deviations
    assert torch.equal(batch, many.batch(4000, 0, "x")[0][0])
