"""Make the file that says which commands SCAN's official simple split tests: one bit for each command of the grammar.

`python -m tools.simple_split PATH`, with the path of the authors' tasks_test_simple.txt.
"""

import argparse
import sys
from pathlib import Path

from modules_lib.datasets import scan
from modules_lib.datasets.downloads import md5_of

OFFICIAL_MD5 = "4986284a1ed140efe3238094767eabc7"


def tested(path: Path) -> set[str]:
    """Read the test commands of SCAN's simple split from the official file.

    Raises:
        ValueError: the file is not the authors' file of the simple split's test commands.
    """
    if md5_of(path) != OFFICIAL_MD5:
        raise ValueError(f"{path} is not the authors' file: its MD5 sum is not {OFFICIAL_MD5}.")
    lines = path.read_text(encoding="utf8").splitlines()
    return {line.removeprefix("IN: ").split(" OUT: ")[0] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.simple_split", description=__doc__)
    parser.add_argument("path", type=Path, help="the authors' file of test commands: tasks_test_simple.txt")
    try:
        scan.SIMPLE_FILE.write_bytes(scan.pack(tested(parser.parse_args().path)))
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{scan.SIMPLE_FILE} has {scan.SIMPLE_FILE.stat().st_size} bytes.")


if __name__ == "__main__":
    main()
