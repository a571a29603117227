"""The table of the choices that the paper leaves open: each differs from the first in one thing, and is measured."""

from reproduction.experiments import published_preset
from reproduction.pages import choices
from reproduction.runs.published import published


def test_each_choice_differs_from_the_released_codes_in_one_setting():
    base, *others = choices.configs().values()
    assert base == choices.preset(choices.EXPERIMENT, "paper", clipped="logits")
    for config in others:
        assert sum(value != base.fields()[name] for name, value in config.fields().items()) == 1
    assert len({config.hash() for config in (base, *others)}) == 1 + len(others)


def test_a_row_says_what_was_measured():
    config = choices.configs()[choices.XAVIER]
    assert config == published_preset(choices.EXPERIMENT, "paper")
    frame = published(config)
    head, _, *rows = choices.choices_table().data.splitlines()
    [row] = [row for row in rows if row.startswith(f"| {choices.XAVIER} |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == len(head.strip("|").split("|")) == len(choices.COLUMNS)
    assert cells[1] == str(frame["seed"].nunique())
    kept = frame[(frame["metric"] == "kept") & (frame["layer"] == "total")].groupby(["stage", "seed"])["value"].first()
    assert cells[2].startswith(f"{(kept['mul'] / kept['add']).mean():.2f}")
    assert len(rows) == sum(not published(config).empty for config in choices.configs().values())


def test_the_sentence_on_first_weights_has_the_tables_numbers():
    text = choices.first_weights_matter().data
    for called in (choices.RELEASED, choices.XAVIER):
        frame = published(choices.configs()[called])
        if not frame.empty:
            chosen = frame[(frame["stage"] == "mul") & (frame["task"] == "add") & (frame["metric"] == "mul")]
            [said] = [part for part in text.split("With ") if part.startswith(called)]
            assert f"the product in {100 * chosen['value'].mean():.1f}" in said
