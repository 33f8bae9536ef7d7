"""Holes filled: by every method, by networks, by the command; what stands outside stays."""

import json

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.metrics.completion import masked_error
from rlenhance.learning.models import MODELS
from rlenhance.learning.ops.masked_tensors import on_tensors
from rlenhance.ops.inpaint import INPAINT_METHODS
from rlenhance.ops.masks import MASK_GENERATORS
from rlenhance.pipelines.complete import Completer, mask_regions
from tests.support.pictures import holed, room, square

SMALL = {"name": "gru_unet", "memory": "none", "widths": (8, 8), "blocks": (1, 1)}


@pytest.mark.parametrize("name", list(INPAINT_METHODS))
def test_fills_change_the_hole_alone(name):
    """Bit for bit; a constant picture comes back; what the hole covers decides nothing."""
    batch, fill = holed(size=40), on_tensors(INPAINT_METHODS[name])
    filled = fill(batch.image, batch.mask)
    known = (batch.mask < 1).expand_as(filled)
    assert torch.equal(filled[known], batch.image[known]) and filled.min() >= 0 and filled.max() <= 1
    assert torch.equal(fill(batch.target, batch.mask), filled) or name in ("telea", "navier-stokes")
    grey = torch.full_like(batch.image, 102 / 255)
    assert torch.allclose(fill(grey * (1 - batch.mask), batch.mask), grey, atol=3 / 255)
    with pytest.raises(UsageError, match="covers the whole picture"):
        INPAINT_METHODS[name](np.zeros((8, 8, 3), np.float32), np.ones((8, 8), bool))


@pytest.mark.parametrize("kind", ["square", "squares", "brush"])
@pytest.mark.parametrize("corner", [(4, 5), (12, 17)])
def test_the_membrane_solves_laplaces_equation(kind, corner):
    """The same as a sparse direct solver, with holes that touch the picture's border or each other."""
    rng = np.random.default_rng(1)
    image, mask = rng.random((20, 26, 3)), MASK_GENERATORS[kind](20, 26, rng)
    mask[: corner[0], : corner[1]] = True
    rows, columns = np.nonzero(mask)
    place = {(r, c): i for i, (r, c) in enumerate(zip(rows, columns, strict=True))}
    matrix, known = lil_matrix((len(place),) * 2), np.zeros((len(place), 3))
    for (r, c), i in place.items():
        for there in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if 0 <= there[0] < 20 and 0 <= there[1] < 26:
                matrix[i, i] += 1
                if there in place:
                    matrix[i, place[there]] -= 1
                else:
                    known[i] += image[there]
    filled = INPAINT_METHODS["laplace"](image.astype(np.float32), mask)
    np.testing.assert_allclose(filled[mask], spsolve(matrix.tocsr(), known), atol=1e-3)


def test_copied_patches_continue_a_pattern():
    """Stripes go on where the membrane is flat."""
    stripes = torch.from_numpy(np.where(np.arange(64) // 4 % 2, 0.8, 0.2).astype(np.float32)).expand(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 22:40, 24:42] = 1
    image = stripes * (1 - mask)
    errors = {name: masked_error(on_tensors(INPAINT_METHODS[name])(image, mask), stripes, mask).item()
              for name in ("patches", "laplace")}
    assert errors["patches"] < 0.05 < 0.15 < errors["laplace"]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_photographs_of_any_size_are_filled(kind):
    """One hole or several, at the border too; outside every value stays; the holes are worked on apart."""
    picture = room(1, 130, 170)
    image = {"uint8": picture, "uint16": picture.astype(np.uint16) * 257, "float32": picture / np.float32(255)}[kind]
    mask = square(130, 170, 0, 0, 12) | square(130, 170, 100, 150, 15)
    assert len(mask_regions(mask)) == 2
    result = Completer("telea")(np.where(mask[..., None], 0, image).astype(image.dtype), mask=mask)
    assert result.dtype == image.dtype and (result[~mask] == image[~mask]).all() and (result[mask] > 0).all()
    with pytest.raises(UsageError, match="mask is 96x96 and the picture 170x130"):
        Completer()(image, mask=square())
    with pytest.raises(UsageError, match="no uniformly black rectangle is found"):
        Completer()(image, mask="auto")
    with pytest.raises(UsageError, match='mask="auto"'):
        Completer()(image)
    with pytest.raises(UsageError, match='or "auto"; got \'yes\''):
        Completer()(image, mask="yes")


def test_a_network_fills_large_holes_without_a_seam(tmp_path):
    """What it gives for the reduced picture is enlarged and brought to the border's level."""
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "run", MODELS.create("completion_restorer", backbone=SMALL, train_size=32))
    picture, mask = room(2, 200, 260), square(200, 260, 60, 80, 70)
    completer = Completer(tmp_path / "run")
    result = completer(np.where(mask[..., None], 0, picture), mask=mask)
    assert (result[~mask] == picture[~mask]).all()
    inner, outer = result[60, 80:150].astype(float), picture[59, 80:150].astype(float)
    assert np.abs(inner - outer).mean() < 12
    with pytest.raises(UsageError, match=r"rlenhance enhance is the command for it.*laplace"):
        Completer("natural")


def test_the_command_completes_files_and_folders(tmp_path, capsys):
    """By mask file, mask folder and detection; 16 bits and transparency stay; what is missing is named."""
    picture, mask = room(), square()
    write(np.where(mask[..., None], 0, picture), tmp_path / "in/bed.png")
    write(np.where(mask[..., None], 0, picture).astype(np.uint16) * 257, tmp_path / "in/deep.png")
    for name in ("bed", "deep"):
        write(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), tmp_path / "masks" / f"{name}.png")
    assert main(["complete", str(tmp_path / "in"), "--mask", str(tmp_path / "masks"), "-o", str(tmp_path / "out"),
                 "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    assert told["decision"] == {"hole": round(28 * 28 / 96**2, 5), "filled_by": Completer().filled_by}
    deep = read(tmp_path / "out/deep.png").pixels
    assert deep.dtype == np.uint16 and (deep[~mask] == picture[~mask].astype(np.uint16) * 257).all()
    assert main(["complete", str(tmp_path / "in/bed.png"), "--auto-mask", "-m", "navier_stokes"]) == 0
    found = read(tmp_path / "in/bed_completed.png").pixels
    assert (found[~mask] == picture[~mask]).all() and (found[mask].max(axis=1) > 20).all()
    assert main(["complete", str(tmp_path / "in/bed.png"), "--auto-mask"]) == 2
    assert "bed_completed.png: exists" in capsys.readouterr().err
    assert main(["complete", str(tmp_path / "in"), "--mask", str(tmp_path / "out"), "-o", str(tmp_path / "o2"),
                 "--model", "laplac"]) == 2
    assert "laplac: no such run" in capsys.readouterr().err
    (tmp_path / "masks/deep.png").unlink()
    assert main(["complete", str(tmp_path / "in"), "--mask", str(tmp_path / "masks"), "-o", str(tmp_path / "o2")]) == 2
    assert "holds no mask for" in capsys.readouterr().err


def test_nothing_is_filled_that_nobody_asked_for(tmp_path, monkeypatch, capsys):
    """Without a word about the hole, and in dark photographs, nothing is written; what is found is said."""
    monkeypatch.chdir(tmp_path)
    write(np.where(square()[..., None], 0, room()), "holed.png")
    write((np.where(square()[..., None], 0, room()) // 9).astype(np.uint8), "night.png")
    assert main(["complete", "holed.png", "night.png", "-m", "laplace"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--mask" in told and "--auto-mask" in told
    assert main(["complete", "holed.png", "night.png", "-m", "laplace", "--auto-mask", "--json"]) == 2
    holed, night, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert "the picture is dark" in night["error"] and "mask" in night["error"]
    assert holed["decision"]["holes"] == [[30, 20, 28, 28]] and "28x28 pixels at 30, 20" in holed["decision"]["words"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holed.png", "holed_completed.png", "night.png"]


def test_no_mask_is_lost_and_no_photograph_is_its_own(tmp_path, monkeypatch, capsys):
    """A result never takes a mask's place, and a photograph that stands for its own mask is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    write(room(), tmp_path / "a.png")
    for place in ("m.png", "masks/a.png"):
        write(np.repeat(np.where(square(), 255, 0)[..., None], 3, axis=2).astype(np.uint8), tmp_path / place)
    before = (tmp_path / "m.png").read_bytes()
    for words, reason in ((["--mask", "m.png", "-o", "m.png", "--overwrite"], "would replace"),
                          (["--mask", "masks", "-o", "masks/a.png", "--overwrite"], "would overwrite it"),
                          (["--mask", "a.png"], "photograph itself"), (["--mask", ""], "photograph itself")):
        assert main(["complete", "a.png", "--model", "laplace", *words]) == 2
        assert reason in capsys.readouterr().err
    assert (tmp_path / "m.png").read_bytes() == before
    assert not (tmp_path / "a_completed.png").exists()
