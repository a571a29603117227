"""Tables of the landing page and the page on reproducibility: computed from results, commands that do what they say."""

import re
import shlex
from html import escape
from importlib.metadata import version

import pytest
import yaml

from modules_lib.models.paper_networks import CNN
from reproduction import __main__ as command_line
from reproduction.claims import CLAIMS, verdicts
from reproduction.claims.paper import PASSAGES
from reproduction.experiments import CHAPTERS, EXPERIMENTS, preset, published_preset, read_config
from reproduction.notebook import citation, tables
from reproduction.notebook.commands import commands_of, run_command, verdict_commands
from reproduction.notebook.tables import published_results
from reproduction.pages import provenance_tables as published
from reproduction.pages.answer import judged
from reproduction.pages.architecture import cnn_table
from reproduction.pages.chapters import ROOT, chapters, run_time, times
from reproduction.pages.claims_table import ClaimsTable
from reproduction.protocol.scales import SCALES
from reproduction.runs import published as results
from reproduction.runs.execute import execute
from reproduction.runs.store import stored
from tools.chapters import read, source


@pytest.fixture
def typed(monkeypatch):
    """A command -> the configs and seeds that it would run."""

    def typed(command):
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "reproduction"]
        asked = []
        monkeypatch.setattr(command_line, "execute", lambda configs, seeds, jobs: asked.append((configs, seeds)) or [])
        monkeypatch.setattr("sys.argv", words[2:])
        command_line.main()
        [(configs, seeds)] = asked
        return configs, seeds

    return typed


def test_every_published_run_has_a_command_that_makes_it(typed):
    made = set()
    for command in published.all_commands().splitlines():
        [config], seeds = typed(command)
        made |= {(config.experiment, config.hash(), seed) for seed in seeds}
    assert made == {(run.experiment, run.folder.parent.name, run.seed) for run in stored(results.results_folder())}


def test_a_claims_commands_make_the_runs_it_was_judged_from(typed):
    for verdict in [*verdicts("laptop"), *verdicts("paper")]:
        asked = {config.experiment: (config.hash(), seeds) for [config], seeds in map(typed, verdict_commands(verdict))}
        assert asked == {
            name: (published_preset(name, verdict.scale).hash(), seeds) for name, seeds in verdict.runs.items()
        }
        assert bool(asked) == bool(verdict.statements)


def test_a_figures_commands_make_the_runs_that_it_shows(typed):
    names = {name: name for name in EXPERIMENTS}
    shown = [published_results(names, scale) for scale in SCALES]
    asked = {
        (config.experiment, config.hash(), seed)
        for [config], seeds in map(typed, commands_of(*shown))
        for seed in seeds
    }
    frames = [frame[["experiment", "config", "seed"]] for results in shown for frame in results.values()]
    assert asked == {run for frame in frames for run in frame.drop_duplicates().itertuples(index=False)}
    assert commands_of({}, {}) == []


def test_a_run_of_ones_own_has_a_command_that_makes_it(typed):
    config = preset("addmul-fnn", "smoke", weight_steps=2, mask_steps=2, hidden=(8,), batch=16)
    made = execute(config, seeds=[3])
    [command] = commands_of({}, {"fnn": results.table(made)})
    assert typed(command) == ([config], [3])


def test_any_seeds_and_settings_can_be_asked_for(typed):
    config = preset("cifar10", "smoke", removed=("cat",), beta=2e-4)
    command = run_command(config, [2, 0])
    assert command == "python -m reproduction run cifar10 --scale smoke --seed 0 2 --beta 0.0002 --removed cat"
    assert typed(command) == ([config], [0, 2])


def test_the_table_of_claims_has_every_claim_with_numbers_and_a_place():
    assert set(PASSAGES) == {claim.id for claim in CLAIMS}
    table = ClaimsTable(judged())
    text = table.text()
    assert [int(number) for number in re.findall(r"^ ?(\d+)  ", text, re.M)] == list(range(1, 29))
    assert "statements hold, 5 seeds, laptop scale" in text and "statements are met, 1 seed, paper scale" in text
    html = table.html()
    assert html.count('<tr class="claim"') == html.count("<details>") == len(CLAIMS)
    for statement in (one for verdict in verdicts("laptop") for one in verdict.statements):
        assert f"{escape(statement.text)}: <strong>{statement.measured}</strong>" in html


@pytest.mark.parametrize("claim", PASSAGES)
def test_the_section_of_a_claim_is_a_heading_of_its_chapter(claim):
    name, _, heading = PASSAGES[claim].section.partition("#")
    text = [cell.source for cell in read(source(f"book/{name}")).cells if cell.cell_type == "markdown"]
    headings = re.findall(r"^#+ (.*)$", "\n".join(text), re.MULTILINE)
    assert not heading or heading in [found.replace(" ", "-") for found in headings]


def test_a_line_of_the_table_leads_with_the_papers_sizes():
    claims = dict(zip((claim.id for claim in CLAIMS), zip(*judged().values(), strict=True), strict=True))
    rows = dict(re.findall(r'<tr class="claim" id="claim-(\d+)"(.*?)</tr>', ClaimsTable(judged()).html(), re.DOTALL))
    for number, (paper, laptop) in claims.items():
        for verdict, cell in zip((paper, laptop), rows[str(number)].split("data-label=")[1:], strict=True):
            assert f">{verdict.verdict}</span>" in cell
            assert not verdict.statements or verdict.weakest.interval in cell


def test_a_scale_without_results_says_so():
    nothing = verdicts("smoke", results={})
    html = ClaimsTable({"laptop": verdicts("laptop"), "smoke": nothing}).html()
    assert html.count(">not run</span>") == len(CLAIMS) and "smoke scale" not in html


def test_chapters_come_from_the_table_of_contents():
    found = {chapter.name: chapter for chapter in chapters()}
    toc = [entry["file"].removeprefix("book/") for entry in yaml.safe_load((ROOT / "_toc.yml").read_text())["chapters"]]
    assert list(found) == [name for name in toc if name not in ("api", "glossary", "networks", "peers")]
    assert set(CHAPTERS) <= set(found)
    assert found["scan"].title == "Systematic generalisation on SCAN"
    assert found["method"].opening.endswith("?")
    table = times().data
    assert all(f"[{chapter.title}]({name}.ipynb)" in table for name, chapter in found.items())


def test_a_chapters_time_is_that_of_its_published_runs_or_their_part_of_it():
    seconds = [run.provenance()["seconds"] for run in results.runs_of(preset("scan"))]
    assert run_time("scan").seconds == pytest.approx(sum(seconds) / len(seconds)) and not run_time("scan").scaled
    part = preset("cifar10").work() / published_preset("cifar10").work()
    seconds = [run.provenance()["seconds"] for run in results.runs_of(published_preset("cifar10"))]
    assert run_time("cifar10").scaled and run_time("cifar10").seconds == pytest.approx(sum(seconds) / 3 * part)
    assert 0 < part < 0.5


def test_a_chapter_whose_runs_are_not_published_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path))
    assert run_time("scan") is None
    assert times().data.count("not measured") == len(CHAPTERS)


def test_all_runs_are_counted_with_their_time():
    runs = stored(results.results_folder())
    hours = sum(run.provenance()["seconds"] for run in runs) / 3600
    table = published.all_runs().data
    assert f"| {len(runs)} runs | | **{hours:.1f}** |" in table
    configs = {run.folder.parent for run in runs}
    assert table.count("\n") == len(configs) + 2
    assert all(read_config(run.config()).hash() == run.folder.parent.name for run in runs)


def test_the_environment_names_what_runs_were_made_with():
    table = published.environment().data
    for run in stored(results.results_folder()):
        assert run.provenance()["torch"] in table and run.provenance()["hardware"] in table
    assert "| made with changes that no commit has | no |" in table


def test_bibtex_says_what_the_citation_file_says():
    about = yaml.safe_load(citation.citation_file())
    entries = citation.bibtex()
    assert entries.count("@") == 2 and entries.count("{") == entries.count("}")
    assert version("modules_lib") in entries and about["preferred-citation"]["title"] in entries
    assert "Csordás, Róbert and van Steenkiste, Sjoerd and Schmidhuber, Jürgen" in entries


def test_a_figures_citation_says_what_the_citation_file_says(monkeypatch):
    about = yaml.safe_load(citation.citation_file())
    entry = citation.figure_bibtex("Kept weights", "key", "https://book.example/book/addmul.html#fig-kept")
    assert entry.startswith("@misc{key,") and entry.count("{") == entry.count("}") and "doi" not in entry
    assert "title = {{Kept weights}}" in entry and "url = {https://book.example/book/addmul.html#fig-kept}" in entry
    assert about["title"] in entry and about["authors"][0]["name"] in entry
    monkeypatch.setattr(citation, "citation_file", lambda: yaml.safe_dump(about | {"doi": "10.5281/zenodo.1"}))
    assert "doi = {10.5281/zenodo.1}," in citation.figure_bibtex("Kept weights", "key", "")


def test_table_1_has_the_layers_of_the_paper():
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in cnn_table(CNN()).data.splitlines()[2:]]
    channels = [(row[1], row[2], row[3], row[7]) for row in lines if row[1] in ("convolution", "linear")]
    assert channels == [
        ("convolution", "3", "32", "-"),
        ("convolution", "32", "64", "-"),
        ("convolution", "64", "128", "0.25"),
        ("convolution", "128", "256", "0.5"),
        ("linear", "256", "10", "-"),
    ]
    assert [row[1] for row in lines].count("maximum pooling") == 3 and lines[-2][1] == "spatial average"
    assert {(row[4], row[5]) for row in lines if row[1] == "convolution"} == {("3 x 3", "1 x 1")}


def test_claims_are_judged_by_earlier_runs_and_by_those_with_the_released_codes_choices(monkeypatch):
    shown = []
    monkeypatch.setattr(tables, "display", shown.append)
    now = tables.at_paper_scale(6, 7)
    said, earlier, _ = shown
    assert "`clipped` logits" in said.data and "none with its choices" not in said.data
    assert [verdict.claim.id for verdict in earlier.verdicts] == [6, 7]
    judged = {verdict.claim.id: verdict for verdict in now.verdicts}
    for name, seeds in judged[7].runs.items():
        assert set(seeds) <= {run.seed for run in results.runs_of(preset(name, "paper"))}
    assert tables.at_paper_scale(22).data.startswith("None of this was run")
