"""Everything as one graph of files: runs -> chapters -> pages. `snakemake` makes what is missing; grid.yaml says what.

On one machine: snakemake
On a cluster:   snakemake --workflow-profile profiles/slurm
"""

import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from modules_lib.experiments import CHAPTERS, EXPERIMENTS, preset
from modules_lib.results import results_folder
from modules_lib.runs import folder_of
from tools.chapters import all_chapters, source
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
DONE = [f"{folder}/checksums.json" for folder in GRID]
PYTHON = f"'{sys.executable}' -m"
NEEDS = config["resources"][config["scale"]]


def arguments(folder):
    name, beta, seed = GRID[folder]
    return f"{name} --scale {config['scale']} --seed {seed}" + (f" --beta {beta}" if beta is not None else "")


# Without this, published results would be runs to make, too.
wildcard_constraints:
    folder="|".join(map(re.escape, GRID)),


rule all:
    input:
        HTML / "index.html",


rule runs:
    input:
        DONE,


rule run:
    output:
        update("{folder}/checksums.json"),  # an output would be deleted before the job: a finished run stays
    params:
        lambda wildcards: arguments(wildcards.folder),
    threads: 1
    resources:
        runtime=NEEDS["runtime"],
        mem_mb=NEEDS["mem_mb"],
        gpu=NEEDS["gpus"],
    shell:
        "{PYTHON} modules_lib run {params} --jobs {threads}"


def runs_of(chapter):
    """The runs that a chapter shows."""
    shown = CHAPTERS.get(Path(chapter).name, ())
    return [f"{folder}/checksums.json" for folder, (name, *_) in GRID.items() if name in shown]


rule chapter:
    input:
        lambda wildcards: runs_of(wildcards.name),
        notebook=lambda wildcards: source(wildcards.name),
        library=sorted(Path(workflow.basedir, "modules_lib").rglob("*.py")),
        results=sorted(results_folder().rglob("*.json*")),
    output:
        str(executed("{name}")),
    params:
        scale=config["scale"],
        values=" ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in config["parameters"].items()),
    shell:
        "{PYTHON} tools.book execute {wildcards.name} --scale {params.scale} {params.values}"


rule pages:
    input:
        [str(executed(name)) for name in all_chapters()],
        sorted(Path(workflow.basedir, "book").glob("*.md")),
        "_config.yml",
        "_toc.yml",
    output:
        HTML / "index.html",
    shell:
        "{PYTHON} tools.book html"
