"""The library alone: it needs torch, numpy, pandas, safetensors and tqdm, and nothing of the paper's reproduction."""

import re
import subprocess
import sys

from tests.conftest import ROOT

# What the extras bring, and the other packages of this repository: as if none were installed.
ABSENT = (
    "reproduction tools benchmarks plotly PIL torchvision filelock scipy tyro docstring_parser ipywidgets IPython yaml"
)

SETTING = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}.split():
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())

import torch
from torch import nn
from torch.nn.functional import mse_loss as loss
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
x = torch.randn(16, 4)
tasks = {{name: DataLoader(TensorDataset(x, x[:, i : i + 1]), batch_size=8) for i, name in enumerate(("add", "mul"))}}

def accuracy(model):
    return float((model(x)[:, 0] > 0).float().mean())
"""


def test_the_readmes_lines_run_with_the_library_alone(tmp_path):
    [lines] = [block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)]
    assert len(lines.strip().splitlines()) <= 10
    code = SETTING.format(absent=ABSENT) + lines.replace("steps=5000", "steps=5")
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "modules.safetensors").exists()
