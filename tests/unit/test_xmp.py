"""Results say in their XMP what made them, and keep what it held."""

from xml.etree import ElementTree

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.io import Photo, read, write
from rlenhance.io.photo import Metadata
from rlenhance.io.xmp import ALTERED, EDITED, with_source_type
from tests.support.pictures import room, square

RDF, TYPE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", \
    "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
OTHERS = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
          b'<r:Description r:about="me" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/png">%b'
          b'</r:Description></r:RDF></x:xmpmeta>')
NAMED = b'<e:DigitalSourceType xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">old</e:DigitalSourceType>'


def types_of(packet):
    """The source types that a packet names, whether as attributes or as elements."""
    tree = ElementTree.fromstring(packet)
    found = [node.get(TYPE) or node.findtext(TYPE) for node in tree.iter(f"{RDF}Description")]
    return [name for name in found if name]


@pytest.mark.parametrize("packet", [None, OTHERS % b"", OTHERS % NAMED, with_source_type(None, ALTERED)])
def test_the_type_is_merged_into_what_is_there(packet):
    """Once, whatever prefix the packet uses; what else it says stays, and a second mark changes nothing."""
    marked = with_source_type(packet, EDITED)
    assert types_of(marked) == [EDITED] and with_source_type(marked, EDITED) == marked
    if packet and b"dc:format" in packet:
        abouts = {node.get(f"{RDF}about") for node in ElementTree.fromstring(marked).iter(f"{RDF}Description")}
        assert b'dc:format="image/png"' in marked and abouts == {"me"}


def test_a_packet_that_is_none_stays():
    """Whatever bytes a file calls its XMP."""
    for packet in (b"\xff\xfe<\0x\0", b"no packet", b"<rdf:RDF>"):
        assert with_source_type(packet, EDITED) == packet


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp"])
def test_commands_mark_what_they_make(ending, tmp_path, monkeypatch):
    """What invents pixels does so unasked, enhance on request; --no-mark and an unchanged photograph have none."""
    monkeypatch.chdir(tmp_path)
    write(Photo(room(0, 48, 48), metadata=Metadata(xmp=OTHERS % b"")), tmp_path / f"a.{ending}")
    write(np.repeat(np.where(square(48, 48, 10, 10, 12), 255, 0)[..., None], 3, 2).astype(np.uint8), "m.png")
    complete = ["complete", f"a.{ending}", "--mask", "m.png"]
    for words, types in ((complete, [EDITED]), ([*complete, "-m", "telea"], [ALTERED]), ([*complete, "--no-mark"], []),
                         (["upscale", f"a.{ending}", "--scale", "2"], [EDITED]), (["enhance", f"a.{ending}"], []),
                         (["enhance", f"a.{ending}", "--mark"], [ALTERED]),
                         (["enhance", f"a.{ending}", "--mark", "--strength", "0"], [])):
        assert main([*words, "-o", f"out.{ending}", "--overwrite"]) == 0
        packet = read(tmp_path / f"out.{ending}").metadata.xmp
        assert types_of(packet) == types and b"image/png" in packet, words
