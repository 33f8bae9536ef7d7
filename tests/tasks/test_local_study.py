"""The study of local agents: each row is optimised with them and without, and its pseudo-references are pictures."""

import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import fit_light_rule, light_rule, local_study, local_targets
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig
from rlenhance.learning.metrics.full_reference import gt_mean_psnr
from rlenhance.learning.ops.image import brightness, resize


@pytest.mark.parametrize("name", list(local_targets.TARGETS))
def test_pseudo_references_are_pictures(name, generator):
    """Of the shape of the dark pictures, in [0, 1], not all alike."""
    image = torch.rand(2, 3, 32, 32, generator=generator) * 0.3
    wanted = local_targets.TARGETS[name](image)
    assert wanted.shape == image.shape and wanted.min() >= 0 and wanted.max() <= 1
    assert wanted.std() > 0.01 and wanted.mean() > image.mean()


def test_ranks_get_the_brightness_of_good_photographs(generator):
    """Where every level is as frequent, every rank gets its own share."""
    even = torch.linspace(0, 1, 32 * 32).view(1, 1, 32, 32).expand(1, 3, -1, -1)
    wanted = local_targets.by_rank(local_targets.quantiles([even]))(torch.rand(1, 1, 32, 32, generator=generator)
                                                                    .expand(1, 3, -1, -1))
    assert (brightness(wanted).flatten().sort().values - even[0, 0].flatten()).abs().max() < 0.01


def test_one_curve_is_asked_of_the_reduced_picture_as_of_the_whole(generator):
    """A reference that is the whole picture's own curve asks the reduced one for the same curve, noise or not."""
    image = torch.rand(1, 3, 64, 64, generator=generator) * 0.3
    wanted = local_targets.commuted(image, local_targets.curve(image), 16)
    assert torch.allclose(wanted, local_targets.curve(resize(image, 16)), atol=1e-4)
    assert not torch.allclose(resize(local_targets.curve(image), 16), wanted, atol=1e-2)


def test_the_study_compares_agents(pairs, tmp_path, capsys):
    """A table with a line per reward and a sheet; the test split and unknown rows are refused."""
    small = {"count": 3, "side": 16, "iterations": 3, "shown": (0, 2), "sheet": tmp_path / "sheet.png",
             "pictures": LowLightDataConfig(data=pairs),
             "policy": PolicyConfig(actions="tone", controls=False, state_size=16, horizon=2,
                                   vary_exposure=False)}
    rows = ("shipped", "curve", "histogram", "brightest_frame", "stack_fusion", "reference", "reference_reduced")
    found = local_study.main(local_study.Arguments(rows=rows, split="train", **small))
    assert set(found) == set(rows)
    for numbers in found.values():
        assert numbers["gain"] == pytest.approx(numbers["local gt_mean_psnr"] - numbers["global gt_mean_psnr"])
    assert capsys.readouterr().out.count("| `") == len(rows) and (tmp_path / "sheet.png").stat().st_size
    for wrong in ({"split": "test"}, {"rows": ("nonsense",)}, {"policy": PolicyConfig(agent_stride=0)}):
        with pytest.raises(UsageError):
            local_study.main(local_study.Arguments(**{**small, **wrong}))


def test_the_fitted_rule_finds_what_bent_the_references(pairs):
    """References that are a bent curve of the brightened pictures are met by its knots, and places are not needed."""
    material = fit_light_rule.gather(LowLightDataConfig(data=pairs))
    knots = torch.linspace(-0.3, 0.3, light_rule.KNOTS).expand(len(material.base), -1)
    bent = material.base * torch.exp(light_rule.by_brightness(brightness(material.base), knots))
    material = fit_light_rule.Material(material.base, bent.clamp(0, 1), *list(vars(material).values())[2:])
    numbers = fit_light_rule.fit(material, True, False, 150, 0.0)
    before = gt_mean_psnr(material.base, material.target).mean()
    assert gt_mean_psnr(fit_light_rule.corrected(material, *numbers), material.target).mean() > before + 3
    assert (numbers[1] == 0).all()
