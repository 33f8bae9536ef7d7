"""Settings for raw developers: what was done to the brightness, as their sliders say it."""

from xml.etree import ElementTree

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.io import write
from rlenhance.pipelines.sidecar import develop_settings
from tests.support.pictures import room

CRS = "{http://ns.adobe.com/camera-raw-settings/1.0/}"


@pytest.mark.parametrize("stops", [-1.0, 0.0, 0.5])
def test_the_exposure_is_that_of_the_light(stops):
    """A gain of the light is found in stops, and leaves the contrast; of 16 bits too."""
    before = room() / np.float32(255) * np.float32(0.7)
    after = srgb_from_linear(linear_from_srgb(before) * 2**stops)
    for ours, theirs in ((before, after), tuple(np.rint(65535 * x).astype(np.uint16) for x in (before, after))):
        found = develop_settings(ours, theirs)
        assert float(found["Exposure2012"]) == pytest.approx(stops, abs=0.06)
        assert abs(int(found["Contrast2012"])) <= 6 and found["WhiteBalance"] == "As Shot"


def test_the_contrast_is_that_of_the_logarithm():
    """A power of the light makes differences so much larger; black says nothing."""
    before = (np.linspace(0.2, 0.8, 4096, dtype=np.float32).reshape(64, 64, 1)).repeat(3, 2)
    after = srgb_from_linear(linear_from_srgb(before) ** 1.2)
    assert develop_settings(before, after, 3200.0)["Temperature"] == "3200"
    assert int(develop_settings(before, after)["Contrast2012"]) == pytest.approx(20, abs=2)
    with pytest.raises(UsageError, match="black or burnt"):
        develop_settings(before * 0, after)


def test_the_command_writes_a_sidecar_and_replaces_no_other(tmp_path, monkeypatch, capsys):
    """Beside one photograph, well-formed, with a brighter exposure; a sidecar of another program stays."""
    monkeypatch.chdir(tmp_path)
    write(room() // 4, "night.png")
    assert main(["enhance", "night.png", "--sidecar", "night.xmp"]) == 0
    assert "approximately -> night.xmp" in capsys.readouterr().out
    node, = ElementTree.parse("night.xmp").iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert float(node.get(f"{CRS}Exposure2012")) > 0.3 and node.get(f"{CRS}HasSettings") == "True"
    again = ["enhance", "night.png", "--overwrite", "--sidecar", "night.xmp"]
    assert main(again) == 0
    (tmp_path / "night.xmp").write_text("<x:xmpmeta>another program's</x:xmpmeta>")
    assert main(again) == 2 and "no sidecar that rlenhance wrote" in capsys.readouterr().err
    assert main(["enhance", "night.png", "room.png", "--sidecar", "a.xmp"]) == 2
