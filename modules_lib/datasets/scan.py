"""SCAN: commands in a small language and the actions that they ask for (Lake and Baroni, 2018; section 4).

All 20,910 commands come from the grammar, and their actions from an interpreter of it. A command is one phrase, or two
joined by *and* or *after*; a phrase is an act, perhaps *twice* or *thrice*; an act is a primitive (*walk*, *look*,
*run*, *jump*) or *turn*, perhaps with a direction, which may be *opposite* or *around*.

The authors drew the simple split at random. Which commands it tests is stored beside this file, one bit a command in
the grammar's order; ``python -m tools.simple_split`` makes that file from theirs. The other splits follow from the
grammar.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.support import rng as noise
from modules_lib.support.checks import check_choice

PRIMITIVES = ("walk", "look", "run", "jump")
DIRECTIONS = ("left", "right")
WORDS = (*PRIMITIVES, "turn", *DIRECTIONS, "opposite", "around", "twice", "thrice", "and", "after")
ACTIONS = ("I_WALK", "I_LOOK", "I_RUN", "I_JUMP", "I_TURN_LEFT", "I_TURN_RIGHT")
TIMES = {"twice": 2, "thrice": 3}
LONGEST_COMMAND, MOST_ACTIONS = 9, 48
SPLITS = ("simple", "add-jump", "length", "add-turn-left")
# Split -> the added command, and how many times training has it by itself.
REPEATED = {"add-jump": ("jump", 1467), "add-turn-left": ("turn left", 2189)}
TRAIN_ACTIONS = 22  # the length split: at most so many; the next longer commands have 24
SIMPLE_FILE = Path(__file__).with_name("scan_simple_split.bin")
TEACHING = 0.5  # the probability that a batch is taught
END = len(ACTIONS)  # the token that ends an answer, and that a decoder is given first


def commands() -> list[str]:
    """List all commands of the language, in the order of its grammar."""
    acts = [
        *PRIMITIVES,
        *(f"{verb} {direction}" for verb in (*PRIMITIVES, "turn") for direction in DIRECTIONS),
        *(
            f"{verb} {way} {direction}"
            for way in ("opposite", "around")
            for verb in (*PRIMITIVES, "turn")
            for direction in DIRECTIONS
        ),
    ]
    phrases = [*acts, *(f"{act} {times}" for act in acts for times in TIMES)]
    joined = itertools.product(phrases, ("and", "after"), phrases)
    return [*phrases, *(" ".join(parts) for parts in joined)]


def interpret(command: str) -> list[str]:
    """Return the actions that a command asks for.

    Raises:
        ValueError: a word is unknown, or the words are no command; the sentence says what is allowed.
    """
    words = command.split()
    for word in words:
        if word not in WORDS:
            raise ValueError(f"{word!r} is not a word of SCAN; the words are {', '.join(WORDS)}.")
    try:
        return _sentence(words)
    except SyntaxError as error:
        raise ValueError(
            f"{command!r} is not a SCAN command: {error}. Allowed are one or two phrases, joined by 'and' or 'after'; "
            "a phrase is walk, look, run, jump or turn, then perhaps opposite or around, then left or right, then "
            "perhaps twice or thrice (turn needs left or right); for example 'jump around left twice and walk'."
        ) from None


def _sentence(words: list[str]) -> list[str]:
    joints = [i for i, word in enumerate(words) if word in ("and", "after")]
    if len(joints) > 1:
        raise SyntaxError(f"it joins {len(joints) + 1} phrases")
    if not joints:
        return _phrase(words)
    [i] = joints
    first, second = _phrase(words[:i]), _phrase(words[i + 1 :])
    return first + second if words[i] == "and" else second + first


def _phrase(words: list[str]) -> list[str]:
    if words and words[-1] in TIMES:
        return TIMES[words[-1]] * _act(words[:-1])
    return _act(words)


def _act(words: list[str]) -> list[str]:
    """A primitive in a direction: turn there and do it. Opposite is two turns, around is four, doing it after each."""
    match words:
        case [verb] if verb in PRIMITIVES:
            return [f"I_{verb.upper()}"]
        case [verb, *way, direction] if direction in DIRECTIONS and (verb in PRIMITIVES or verb == "turn"):
            turn = [f"I_TURN_{direction.upper()}"]
            done = [] if verb == "turn" else [f"I_{verb.upper()}"]
            if way == []:
                return turn + done
            if way == ["opposite"]:
                return turn + turn + done
            if way == ["around"]:
                return 4 * (turn + done)
    raise SyntaxError(f"{' '.join(words)!r} is no act" if words else "a phrase is empty")


@functools.cache
def _solved() -> dict[str, list[str]]:
    return {command: interpret(command) for command in commands()}


def is_tested(split: str, command: str) -> bool:
    """Tell whether a command is for testing, in a split that follows from the grammar."""
    if split == "length":
        return len(_solved()[command]) > TRAIN_ACTIONS
    added, _ = REPEATED[split]
    return added in command and command != added


def pack(tests: set[str]) -> bytes:
    """Write down which commands are tests: one bit a command, in the order of :func:`commands`, eight to a byte.

    Raises:
        ValueError: one of them is no command of the language.
    """
    every = commands()
    if unknown := sorted(tests - set(every)):
        raise ValueError(f"{unknown[0]!r} is not a SCAN command, so it cannot be tested; `commands()` lists all.")
    return np.packbits([command in tests for command in every]).tobytes()


def _simple_tests() -> list[bool]:
    """Whether the official simple split tests each command, in the order of :func:`commands`."""
    return np.unpackbits(np.fromfile(SIMPLE_FILE, np.uint8), count=len(_solved())).astype(bool).tolist()


def split(name: str) -> tuple[list[str], list[str]]:
    """List the commands that a split trains with, some of them many times, and those that it tests.

    Args:
        name: "simple" (the official one), "add-jump", "length" or "add-turn-left".

    Raises:
        ValueError: there is no such split.
    """
    every = commands()
    simple = check_choice("split", name, SPLITS) == "simple"
    tested = _simple_tests() if simple else [is_tested(name, command) for command in every]
    train, test = ([c for c, t in zip(every, tested, strict=True) if t is part] for part in (False, True))
    if name in REPEATED:
        added, times = REPEATED[name]
        train += [added] * (times - 1)
    return train, test


@dataclass(frozen=True)
class Scan:
    """Commands and their actions as numbers.

    Attributes:
        commands: int64 [M, 9], indices into WORDS, -1 where a command has ended.
        actions: int64 [M, 49], indices into ACTIONS, then END, then -1.
    """

    commands: Tensor
    actions: Tensor

    @classmethod
    def of(cls, chosen: list[str], device: torch.device | str = "cpu") -> Scan:
        places, inputs, outputs = _numbers()
        rows = torch.tensor([places[command] for command in chosen], dtype=torch.long)
        return cls(inputs[rows].to(device), outputs[rows].to(device))

    def batch(self, size: int, *stream: int | str) -> tuple[tuple[Tensor, Tensor, bool], Tensor]:
        """Draw commands and the actions that they ask for; the same stream gives the same batch.

        Returns:
            (commands [size, 9], actions [size, 49], whether to teach), actions [size, 49]; commands are drawn
            uniformly, and half of the batches are taught: the decoder is then fed the right actions (appendix F).
        """
        rows = noise.integers(noise.keys(*stream, count=1, device=self.commands.device), size, len(self.commands))[0]
        teach = bool(noise.uniforms(noise.keys(*stream, "teach", count=1), 1) < TEACHING)
        return (self.commands[rows], self.actions[rows], teach), self.actions[rows]


@functools.cache
def _numbers() -> tuple[dict[str, int], Tensor, Tensor]:
    """Each command's row in the tensors of all commands and all actions, as :class:`Scan` has them."""
    words, acts = ({name: i for i, name in enumerate(names)} for names in (WORDS, ACTIONS))
    inputs = np.full((len(_solved()), LONGEST_COMMAND), -1)
    outputs = np.full((len(_solved()), MOST_ACTIONS + 1), -1)
    for i, (command, actions) in enumerate(_solved().items()):
        asked = [words[word] for word in command.split()]
        inputs[i, : len(asked)] = asked
        outputs[i, : len(actions) + 1] = [*(acts[action] for action in actions), END]
    return {command: i for i, command in enumerate(_solved())}, torch.from_numpy(inputs), torch.from_numpy(outputs)


def loss(scores: Tensor, actions: Tensor) -> Tensor:
    """Compute the cross-entropy, summed over time and averaged over the batch.

    Args:
        scores: [batch, 49, tokens], from :class:`modules_lib.models.encoder_decoder.EncoderDecoder`.
        actions: int64 [batch, 49], -1 where they have ended.
    """
    size, there = len(actions), actions >= 0
    if scores.is_cpu:  # elsewhere the host would have to wait to know how many tokens there are
        scores, actions = scores[there], actions[there]
    return F.cross_entropy(scores.flatten(0, -2), actions.flatten(), ignore_index=-1, reduction="sum") / size


@torch.no_grad()
def answers(model: EncoderDecoder, data: Scan, batch: int = 4096) -> Tensor:
    """Decode the model's answer to each command greedily: int64 [M, 49], as ``data.actions``."""
    return torch.cat([model.write(part, MOST_ACTIONS + 1) for part in data.commands.split(batch)])


def answered(model: EncoderDecoder, data: Scan) -> Tensor:
    """Tell whether the model answers each command with all its actions, their end and no more: bool [M], on the CPU."""
    return (answers(model, data) == data.actions).all(1).cpu()


def token_name(token: str) -> str:
    """Write a token for readers: ``I_TURN_LEFT`` -> ``TURN LEFT``."""
    return token.removeprefix("I_").replace("_", " ")


def spell(answer: Tensor) -> list[str]:
    """Spell one answer's actions as words, without its end."""
    return [ACTIONS[token] for token in answer.tolist() if 0 <= token != END]
