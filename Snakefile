"""Everything as one graph of files: runs -> chapters -> pages. `snakemake` makes what is missing; grid.yaml says what.

On one machine: snakemake
On a cluster:   snakemake --workflow-profile profiles/slurm
"""

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
from tools.render import HTML, executed


configfile: "grid.yaml"


localrules:
    all,
    runs,
    chapter,
    pages,


def grid():
    """Every config and seed of the grid, by the folder of its run."""
    names = list(EXPERIMENTS) if config["experiments"] == "all" else config["experiments"]
    return {
        str(folder_of(chosen, seed)): (name, beta, seed)
        for name in names
        for beta in [*map(float, config["betas"]), None]  # the experiment's own last: it names the run if both are one
        for chosen in [preset(name, config["scale"], beta=beta)]
        for seed in range(int(config["seeds"]))
    }


GRID = grid()
MARKS = {str(tried(folder)): folder for folder in GRID}
PYTHON = f"'{sys.executable}' -m"
NEEDS = config["resources"][config["scale"]]

if workflow.is_main_process:
    try:
        LOCK = hold()  # until this process ends; snakemake's own lock outlives one that is killed
    except BookError as error:
        raise WorkflowError(str(error))
    begin(GRID, runs_folder(), since=float(config.get("since", time.time())))


def arguments(folder):
    name, beta, seed = GRID[folder]
    return f"{name} --scale {config['scale']} --seed {seed}" + (f" --beta {beta}" if beta is not None else "")


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
rule run:
    output:
        touch(f"{TRIED}/{{run}}"),
    params:
        arguments=lambda wildcards, output: arguments(MARKS[output[0]]),
        failed=lambda wildcards, output: shlex.quote(str(failed(MARKS[output[0]]))),
    threads: 1
    resources:
        runtime=NEEDS["runtime"],
        mem_mb=NEEDS["mem_mb"],
        gpu=NEEDS["gpus"],
    shell:
        "{PYTHON} reproduction run {params.arguments} --jobs {threads} || test -e {params.failed}"


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
