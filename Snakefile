"""Everything as one graph of files: runs -> chapters -> pages. `snakemake` makes what is missing; grid.yaml says what.

On one machine: snakemake
On a cluster:   snakemake --workflow-profile profiles/slurm
The runs of evidence.yaml, published: snakemake evidence --configfile evidence.yaml
"""

import re
import shlex
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)

from reproduction.experiments import CHAPTERS, EXPERIMENTS, preset
from reproduction.runs.published import results_folder
from reproduction.runs.provenance import PACKAGES
from reproduction.runs.store import folder_of, runs_folder
from tools.building import TRIED, all_missing, begin, failed, hold, tried
from tools.chapters import BookError, all_chapters, source
from tools.evidence import settings_of
from tools.render import HTML, executed


configfile: "grid.yaml"


localrules:
    all,
    runs,
    chapter,
    pages,
    publish,
    evidence,


def lines():
    """Every experiment of the grid or queue with its settings and seeds, in order."""
    if "queue" in config:
        for line in config["queue"]:
            yield line["experiment"], settings_of(line), line["seeds"]
        return
    for name in EXPERIMENTS if config["experiments"] == "all" else config["experiments"]:
        for beta in [*map(float, config["betas"]), None]:  # the experiment's own last: it names the run if both are one
            yield name, {} if beta is None else {"beta": beta}, range(int(config["seeds"]))


def grid():
    """Every config and seed of the grid, by the folder of its run: experiment, settings, seed, place in the order."""
    found = {
        str(folder_of(preset(name, config["scale"], **settings), seed)): (name, settings, seed, place)
        for place, (name, settings, seeds) in enumerate(lines())
        for seed in seeds
    }
    return {folder: run for folder, run in found.items() if "queue" not in config or not is_published(folder)}


def is_published(folder):
    return results_folder().joinpath(*Path(folder).parts[-3:]).exists()


GRID = grid()
PUBLISHED = TRIED.with_name("published")
MARKS = {str(tried(folder)): folder for folder in GRID}
PYTHON = f"'{sys.executable}' -m"

if workflow.is_main_process:
    try:
        LOCK = hold()  # until this process ends; snakemake's own lock outlives one that is killed
    except BookError as error:
        raise WorkflowError(str(error))
    begin(GRID, runs_folder(), since=float(config.get("since", time.time())))


def arguments(folder):
    """The words that choose a run on the command line."""
    name, settings, seed, _ = GRID[folder]
    words = [f"{name} --scale {config['scale']} --seed {seed}"]
    for setting, value in settings.items():
        values = value if isinstance(value, list | tuple) else [value]
        words.append(f"--{setting.replace('_', '-')} {' '.join(map(str, values))}")
    return " ".join(words)


def asked(name):
    """A function from the mark of a run to its number of minutes, megabytes or GPUs."""

    def of(wildcards):
        own = config["exceptions"].get(config["scale"], {}).get(GRID[MARKS[f"{TRIED}/{wildcards.run}"]][0], {})
        return (config["resources"][config["scale"]] | own)[name]

    return of


def made_at(place):
    """The marks of the runs of one place in the order, as a pattern: all of them where there is no queue."""
    folders = [mark for mark, folder in MARKS.items() if "queue" not in config or GRID[folder][3] == place]
    return "|".join(re.escape(mark.removeprefix(f"{TRIED}/")) for mark in folders)


def runs_of(chapter):
    """The marks of the runs that a chapter shows and that are to be made."""
    shown = CHAPTERS.get(Path(chapter).name, ()) if config["train"] != "never" else ()
    return [mark for mark, folder in MARKS.items() if GRID[folder][0] in shown]


# What lies between runs and pages is asked for, too: else it would not be made again while the pages are there.
rule all:
    input:
        HTML / "index.html",
        [str(executed(name)) for name in all_chapters()],
        [mark for name in all_chapters() for mark in runs_of(name)],


rule runs:
    input:
        list(MARKS),


# A run that fails is tried, too, once the store has the reason: its chapter says it, and all others are made.
# One rule a line of a queue, since a rule has one priority.
for place in range(len(config.get("queue", [0]))):

    rule:
        name:
            f"run_{place}" if "queue" in config else "run"
        output:
            touch(f"{TRIED}/{{run}}"),
        wildcard_constraints:
            run=made_at(place),
        params:
            arguments=lambda wildcards, output: arguments(MARKS[output[0]]),
            failed=lambda wildcards, output: shlex.quote(str(failed(MARKS[output[0]]))),
            whole="--one-commit" if "queue" in config else "",
        priority: -place
        threads: 1
        resources:
            runtime=asked("runtime"),
            mem_mb=asked("mem_mb"),
            gpu=asked("gpus"),
        shell:
            "{PYTHON} reproduction run {params.arguments} --jobs {threads} {params.whole} || test -e {params.failed}"


# A finished run is published at once, so that nothing is lost with the machine.
if "queue" in config:

    rule evidence:
        input:
            [mark.replace(str(TRIED), str(PUBLISHED), 1) for mark in MARKS],

    rule publish:
        input:
            f"{TRIED}/{{run}}",
        output:
            touch(f"{PUBLISHED}/{{run}}"),
        params:
            arguments=lambda wildcards, input: arguments(MARKS[input[0]]),
            failed=lambda wildcards, input: shlex.quote(str(failed(MARKS[input[0]]))),
        priority: 1
        shell:
            "test ! -e {params.failed} && {PYTHON} reproduction publish {params.arguments}"


rule chapter:
    input:
        lambda wildcards: runs_of(wildcards.name),
        notebook=lambda wildcards: source(wildcards.name),
        library=[file for part in PACKAGES for file in sorted(Path(workflow.basedir, part).rglob("*.py"))],
        results=sorted(results_folder().rglob("*.json*")),
    output:
        str(executed("{name}")),
    params:
        scale=config["scale"],
        train=config["train"],
        values=" ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in config["parameters"].items()),
    shell:
        "{PYTHON} tools.book execute {wildcards.name} --scale {params.scale} --train {params.train} {params.values}"


rule pages:
    input:
        [str(executed(name)) for name in all_chapters()],
        sorted(Path(workflow.basedir, "book").glob("*.md")),
        "_config.yml",
        "_toc.yml",
    output:
        update(HTML / "index.html"),  # an output would be deleted before the new pages are there
    shell:
        "{PYTHON} tools.book html"


onsuccess:
    if "since" not in config:  # `make book` says it itself, at its end
        print(*all_missing(), sep="\n")
