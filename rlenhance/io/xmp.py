"""Say in a picture's XMP what made it: IPTC's Digital Source Type, merged into the packet that is there.

Source: IPTC NewsCodes, http://cv.iptc.org/newscodes/digitalsourcetype/ (as of 2024-09): `EDITED` is "augmentation,
correction or enhancement using a Generative AI model, such as with inpainting or outpainting", `ALTERED` "modification
or correction by algorithm"; the property, IPTC Photo Metadata Standard, Iptc4xmpExt:DigitalSourceType.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rlenhance.io.photo import Photo

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: A trained model has invented pixels.
EDITED = f"{_VOCABULARY}compositeWithTrainedAlgorithmicMedia"
#: An algorithm has changed the pixels that were there.
ALTERED = f"{_VOCABULARY}algorithmicallyEnhanced"
_SPACE = b"http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NEW = (b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        b'<rdf:RDF xmlns:rdf="' + _RDF + b'">\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>')


def with_source_type(packet: bytes | None, source_type: str) -> bytes | None:
    """An XMP packet that names a digital source type; all else in it stays as it is.

    Args:
        packet: what the file has; None: a new one is made.
        source_type: `EDITED` or `ALTERED`. A type that the packet names already is replaced.

    Returns:
        The packet; the one that was given where it is no RDF in UTF-8.
    """
    packet = packet or _NEW
    value, spaces = source_type.encode(), {uri: name for name, uri in re.findall(
        rb"xmlns:([\w.-]+)\s*=\s*[\"']([^\"']*)[\"']", packet)}
    if own := spaces.get(_SPACE):
        begins = rb"(?<=[<\s])" + re.escape(own) + rb":DigitalSourceType"  # an attribute, or an element
        named = re.compile(rb"(" + begins + rb"(?:\s*=\s*[\"']|(?:\s[^>]{0,500}[^/>])?>))[^\"'<]*")
        packet, count = named.subn(rb"\g<1>" + value, packet)
        if count:
            return packet
    rdf = spaces.get(_RDF, b"")
    end = packet.rfind(b"</" + rdf + b":RDF")
    if not rdf or end < 0:
        return packet
    about = re.search(rb"\b" + re.escape(rdf) + rb":about\s*=\s*[\"']([^\"']*)[\"']", packet)
    made = (b'<%b:Description %b:about="%b" xmlns:Iptc4xmpExt="%b" Iptc4xmpExt:DigitalSourceType="%b"/>\n'
            % (rdf, rdf, about[1] if about else b"", _SPACE, value))
    return packet[:end] + made + packet[end:]


def marked(photo: Photo, source_type: str) -> Photo:
    """A photograph whose XMP names a digital source type, see `with_source_type`."""
    packet = with_source_type(photo.metadata.xmp, source_type)
    return replace(photo, metadata=replace(photo.metadata, xmp=packet))
