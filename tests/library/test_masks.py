"""The mask algebra, sharing (equation 14) and mask files."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from modules_lib import Masks, fingerprint, sharing


def masks(**bits):
    return Masks({name: torch.tensor([c == "1" for c in text]) for name, text in bits.items()})


def test_sharing_by_hand():
    target, reference = masks(a="1110", b="0011"), masks(a="0111", b="0000")
    assert sharing(target, reference, name="a") == 2 / 3
    assert sharing(reference, target, name="a") == 2 / 3
    assert sharing(target, reference, name="b") == 0.0
    assert sharing(target, reference) == 2 / 5  # the total counts weights, it is no mean over layers


def test_sharing_with_several_references_is_with_their_union():
    assert sharing(masks(a="1111"), masks(a="1000"), masks(a="1010")) == 0.5


def test_sharing_of_an_empty_mask_is_not_available():
    empty, full = masks(a="0000", b="1111"), masks(a="1111", b="1111")
    assert math.isnan(sharing(empty, full, name="a"))
    assert sharing(full, empty, name="a") == 0.0
    assert math.isnan(sharing(masks(a="00"), masks(a="11")))


def test_sharing_needs_a_reference_and_a_known_name():
    with pytest.raises(ValueError, match="at least one reference"):
        sharing(masks(a="1"))
    with pytest.raises(ValueError, match="no mask named 'c'; the names are a"):
        sharing(masks(a="1"), masks(a="1"), name="c")


def test_counts():
    m = masks(a="1100", b="1")
    assert (m.count(), m.size(), m.count("a"), m.size("b")) == (3, 5, 2, 1)
    assert m.kept("a") == 0.5 and m.kept() == 3 / 5
    assert math.isnan(Masks({}).kept())


bits = st.lists(st.booleans(), min_size=24, max_size=24)


def as_masks(flat):
    t = torch.tensor(flat)
    return Masks({"x": t[:15].view(3, 5), "y": t[15:]})


@given(bits, bits)
@settings(deadline=None)
def test_algebra(first, second):
    a, b = as_masks(first), as_masks(second)
    assert ~~a == a
    assert ~(a & b) == ~a | ~b
    assert (a & b).count() + (a | b).count() == a.count() + b.count()
    assert (a & ~a).count() == 0 and (a | ~a).count() == a.size()
    if a.count():
        assert math.isclose(sharing(a, b) + sharing(a, ~b), 1.0)


def test_masks_of_different_models_do_not_combine():
    with pytest.raises(ValueError, match="different models"):
        _ = masks(a="11") | masks(a="111")


def test_only_booleans_are_masks():
    with pytest.raises(ValueError, match="float32"):
        Masks({"a": torch.ones(3)})


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_files_give_back_what_was_saved(tmp_path_factory, data):
    shape = data.draw(st.lists(st.integers(0, 7), min_size=0, max_size=3))
    m = Masks({"layer.weight": torch.rand(shape) > 0.5, "other": torch.rand(9) > 0.5})
    path = tmp_path_factory.mktemp("masks") / "m.safetensors"
    m.save(path)
    assert Masks.load(path) == m


def test_files_pack_eight_weights_a_byte(tmp_path):
    Masks({"a": torch.rand(800, 1000) > 0.5}).save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_size < 100_000 + 1000


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    m = Masks({name: torch.rand_like(p) > 0.5 for name, p in model.named_parameters() if "weight" in name})
    m.save(tmp_path / "m.safetensors", model)
    return model, m, tmp_path / "m.safetensors"


def test_a_file_loads_for_the_model_it_was_made_for(saved):
    model, m, path = saved
    assert Masks.load(path, model) == m


def test_a_file_for_another_architecture_is_refused(saved):
    with pytest.raises(ValueError, match=r"another model: it masks 0\.weight of shape \(3, 4\)"):
        Masks.load(saved[2], nn.Sequential(nn.Linear(5, 3)))


def test_a_file_for_other_weights_is_refused(saved):
    model, _, path = saved
    with torch.no_grad():
        model[2].bias += 1
    with pytest.raises(ValueError, match="other weights of this architecture"):
        Masks.load(path, model)


@pytest.mark.parametrize("damage", ["truncated", "emptied", "not masks"])
def test_a_damaged_file_is_named(saved, damage):
    _, _, path = saved
    content = path.read_bytes()
    if damage == "not masks":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(3)}, path)
    else:
        path.write_bytes(content[:-3] if damage == "truncated" else b"")
    with pytest.raises(ValueError, match=r"m\.safetensors (is damaged|holds no masks)"):
        Masks.load(path)


def test_a_mask_with_missing_bits_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    Masks({"a": torch.ones(5, 5) > 0}).save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({"/a": torch.ones(2, dtype=torch.uint8)}, path, metadata)
    with pytest.raises(ValueError, match=r"m\.safetensors is damaged"):
        Masks.load(path)


def test_a_fingerprint_takes_any_tensor():
    model = nn.BatchNorm1d(3)
    model.temperature = nn.Parameter(torch.tensor(1.0))
    before = fingerprint(model)
    model.running_mean += 1
    assert fingerprint(model) != before


def test_a_fingerprint_changes_with_names_shapes_and_values():
    def prints(seed=0, size=3):
        torch.manual_seed(seed)
        return fingerprint(nn.Linear(size, 2))

    assert prints() == prints() and len({prints(), prints(1), prints(size=4)}) == 3
