"""The answers of several masks' networks to a SCAN command, side by side."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import pandas as pd
from IPython.display import display

from modules_lib.analysis.theme import count
from modules_lib.datasets.scan import Scan, answered, answers, interpret, spell, token_name
from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.support.device import device
from reproduction.experiments.scan import TOKENS

WRONG = 'style="background: #D55E00; color: white; padding: 0 0.3em; border-radius: 0.3em"'
AFTER = 'style="opacity: 0.55"'
TOP = 'style="text-align: left; vertical-align: top; padding-right: 0.8em"'
NO_ANSWER = "(the end)"
NAMES = dict(enumerate(map(token_name, TOKENS)))
BEYOND = 6  # actions that are shown beyond the number asked for: some networks never end


class Translator:
    """A network, and its subnetwork under each of several masks.

    Args:
        model: the trained network.
        masks: name -> masks; the name is shown.
    """

    def __init__(self, model: EncoderDecoder, masks: Mapping[str, Masks]):
        masked = {name: subnetwork(model, mask) for name, mask in masks.items()}
        self.networks: dict[str, EncoderDecoder] = {"unmasked": model, **masked}

    def answer(self, command: str) -> Translation:
        """Decode the answer of every network.

        Raises:
            ValueError: a word is unknown, or the words are no command; the sentence says what is allowed.
        """
        right = interpret(command)
        data = Scan.of([" ".join(command.split())], device())
        return Translation(command, right, {name: _spelled(network, data) for name, network in self.networks.items()})

    def lost(self, commands: Sequence[str], name: str, kept: str = "full task") -> pd.DataFrame:
        """List the commands that a network gets wrong, those of fewest words first.

        Returns:
            rows: ``command``; ``asked``, ``written``: its first wrong token; ``kept``: whether network `kept` is right.
        """
        commands = sorted(commands, key=lambda command: (len(command.split()), command))
        data = Scan.of(commands, device())
        written = answers(self.networks[name], data)  # [M, 49]
        wrong = written != data.actions
        first = wrong.int().argmax(1, keepdim=True)
        asked, wrote = (tokens.gather(1, first).flatten().tolist() for tokens in (data.actions, written))
        rows = pd.DataFrame({"command": commands, "asked": asked, "written": wrote})
        rows = rows.replace({"asked": NAMES, "written": NAMES})
        return rows.assign(kept=answered(self.networks[kept], data).numpy())[wrong.any(1).cpu().numpy()]

    def table(self, commands: Sequence[str]) -> Translations:
        """Tabulate the answers to several commands, to be opened one by one."""
        return Translations([self.answer(command) for command in commands])


class Translation:
    """The answers to one command; shown as a table in which the first wrong action of each is marked.

    Attributes:
        command: the command.
        right: the actions that it asks for.
        answers: network -> its actions.
    """

    def __init__(self, command: str, right: list[str], answers: dict[str, list[str]]):
        self.command, self.right, self.answers = command, right, answers

    def first_wrong(self, name: str) -> int | None:
        """Find the place of the first action that differs, which may be behind the last; None if all are right."""
        answer = self.answers[name]
        pairs = zip([*answer, NO_ANSWER], [*self.right, NO_ANSWER], strict=False)
        return next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), None)

    def correct(self) -> int:
        """Count the networks that are right."""
        return sum(self.first_wrong(name) is None for name in self.answers)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def __str__(self) -> str:
        lines = [f"{self.command}: {' '.join(map(_short, self.right))}"]
        for name, answer in self.answers.items():
            wrong = self.first_wrong(name)
            said = [f"[{a}]" if i == wrong else a for i, a in enumerate(self._shown(answer, wrong))]
            lines.append(f"{'✓' if wrong is None else '✗'} {name}: {' '.join(said)}")
        return "\n".join(lines)

    def html(self) -> str:
        rows = [self._row(name) for name in self.answers]
        rows.append(f"<tr>{_cell('<i>asked for</i>')}<td></td>{_cell(' '.join(map(_short, self.right)))}</tr>")
        return f'<table style="margin: 0.5em 0 1em">{"".join(rows)}</table>'

    def _row(self, name: str) -> str:
        wrong = self.first_wrong(name)
        shown = self._shown(self.answers[name], wrong)
        if wrong is None:
            text = " ".join(shown)
        else:
            text = (
                f'{" ".join(shown[:wrong])} <mark {WRONG} title="the first wrong action">{shown[wrong]}</mark> '
                f"<span {AFTER}>{' '.join(shown[wrong + 1 :])}</span>"
            )
        sign = "✓" if wrong is None else "✗"
        return f"<tr>{_cell(html.escape(name))}<td {TOP}>{sign}</td>{_cell(text)}</tr>"

    def _shown(self, answer: list[str], wrong: int | None) -> list[str]:
        """An answer in short names; one that ends too early shows its end, the mistake, and one far too long is cut."""
        most = len(self.right) + BEYOND
        shown = [_short(action) for action in answer[:most]]
        if len(answer) > most:
            shown.append(f"… {len(answer) - most} more")
        return [*shown, NO_ANSWER] if wrong == len(answer) else shown


class Translations:
    """Answers to several commands, each behind its command and how many networks are right; needs no kernel.

    The first that not all networks answer is open.
    """

    def __init__(self, translations: list[Translation]):
        self.translations = translations

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        failing = [i for i, one in enumerate(self.translations) if one.correct() < len(one.answers)]
        parts = [
            f"<details{' open' if i == (failing or [0])[0] else ''}><summary><b>{html.escape(one.command)}</b> "
            f"<small>({count(len(one.right), 'action')}; {one.correct()} of {len(one.answers)} networks are right)"
            f"</small></summary>{one.html()}</details>"
            for i, one in enumerate(self.translations)
        ]
        return {"text/plain": "\n\n".join(map(str, self.translations)), "text/html": "".join(parts)}


class CommandControl(widgets.VBox):
    """A field for a command, and the answers of all networks to it.

    Args:
        translator: the networks.
        command: the first command.
    """

    def __init__(self, translator: Translator, command: str = "jump around left twice"):
        self.translator = translator
        self.command = widgets.Text(command, description="command", layout={"width": "34em"})
        self.button = widgets.Button(description="Translate", button_style="primary")
        self.output = widgets.Output()
        self.button.on_click(lambda _: self.translate())
        super().__init__([widgets.HBox([self.command, self.button]), self.output])

    def translate(self) -> None:
        """Show the answers to the command, or why it is none."""
        self.output.clear_output(wait=True)
        with self.output:
            try:
                display(self.translator.answer(self.command.value))
            except ValueError as error:
                print(error)


def _spelled(network: EncoderDecoder, data: Scan) -> list[str]:
    return spell(answers(network, data)[0])


def _short(action: str) -> str:
    return action.removeprefix("I_").removeprefix("TURN_")


def _cell(text: str) -> str:
    return f"<td {TOP}>{text}</td>"
