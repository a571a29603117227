"""How to cite the paper and this software, from ``CITATION.cff``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import yaml

from modules_lib.support.folders import ROOT


def citation_file() -> str:
    """Read ``CITATION.cff``."""
    return (ROOT / "CITATION.cff").read_text(encoding="utf8").strip()


def bibtex() -> str:
    """Write the citation as two BibTeX entries: the paper, and the software that repeats it."""
    software = yaml.safe_load(citation_file())
    paper = software["preferred-citation"]
    archive = paper["identifiers"][0]["value"]
    return "\n\n".join(
        (
            _entry("inproceedings", "csordas2021modular", paper, booktitle=paper["collection-title"], note=archive),
            _entry("software", "modules_book", software, version=version("modules_lib"), license=software["license"]),
        )
    )


def figure_bibtex(title: str, key: str, address: str) -> str:
    """Write the citation of one figure of the book as a BibTeX entry."""
    software = yaml.safe_load(citation_file())
    figure = {**software, "title": title, "url": address}
    return _entry(
        "misc", key, figure, howpublished=f"Figure in {{{software['title']}}}", version=version("modules_lib")
    )


def _entry(kind: str, key: str, about: dict[str, Any], **more: str) -> str:
    known = {"author": " and ".join(map(_author, about["authors"])), "title": f"{{{about['title']}}}"}
    dated = {"year": about["year"]} if "year" in about else {}
    places = {name: about[name] for name in ("doi", "url") if name in about}
    fields = known | dated | more | places
    return f"@{kind}{{{key},\n" + "\n".join(f"  {name} = {{{value}}}," for name, value in fields.items()) + "\n}"


def _author(person: dict[str, str]) -> str:
    if "name" in person:
        return f"{{{person['name']}}}"
    return f"{person['family-names']}, {person['given-names']}"
