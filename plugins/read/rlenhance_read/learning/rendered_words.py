"""Words from which the texts of rendered scenes are made; a word belongs to one split alone."""

from __future__ import annotations

import hashlib
from functools import cache

#: Splits and their shares of words, font families and cameras, in tenths.
SHARES = {"train": 5, "val": 2, "test": 3}

_WORDS = """
able about above accept account across action active actor address advice afraid after again agent agree airport alarm
album alone along always amount ancient angle animal annual answer apple april arrive artist aside attach august author
autumn avenue average award bacon bakery balance banana barley basket battery beach beard beauty before begin behind
below bench better between bicycle birthday biscuit blanket blind blossom board border borrow bottle bottom bracelet
branch bread breakfast breeze bridge brief bright bring broken brother brush bucket budget building burger butter button
cabin cable camera candle canvas capital captain carbon careful carpet carrot castle catalog ceiling center central
century certain chair chapter charge cheap check cheese cherry chicken choice circle citizen clean clear climate clock
closed cloth cloud coach coast coffee collect color column common compare concert contact content cookie copper corner
cotton count country course cover cream create credit crowd current curtain custom damage dance danger daughter debit
decide deep defend degree delay deliver dentist deposit desert design desk detail device dialog diamond dinner direct
discount distance doctor dollar double dragon drawer dream dress drink driver during early earth easily east editor
effect eight either electric eleven empty energy engine enjoy enough enter entrance equal error evening event every
exact example except exchange exit expect expert express extra fabric factory fair family famous farmer fashion father
favor february fence festival field fifteen figure filter final finger finish first fishing flavor flight floor flower
follow forest forget forward fountain fourteen frame free fresh friday friend front frozen fruit future galaxy garage
garden garlic general gentle giant ginger glass global golden grain grand grape gravel great green grocery ground group
guard guest guide guitar half hammer handle happy harbor harvest health heart heavy helmet hello hidden history holiday
honest honey hope horse hospital hotel hour house human hundred hungry hurry iceberg idea image import inch include
indoor inform inside instead invoice iron island january jacket join journal journey judge juice july jump june jungle
kernel kettle keyboard kitchen knee knife know label ladder lake lamp language large laser later laugh laundry leader
leather left lemon length lesson letter level liberty library light limit linen listen little local lower luggage lunch
machine magic magnet manage mango manual marble march margin market master matter meadow measure medical medium melon
member memory menu message metal method middle midnight milk million mineral minute mirror mobile modern moment monday
monkey month morning mother motor mountain mouse museum music narrow nation nature nearly needle neighbor never nickel
night nine noble normal north notice novel november number object ocean october office olive onion online open opera
orange orchard order organ origin other outdoor oven owner packet paint palace panel paper parcel parent parking partner
party passage patient pattern payment peace pencil people pepper perfect permit person phone photo piano picture pillow
pilot pink pizza planet plastic plate platform please pocket police polite popular postage potato powder present press
price printer prize problem product profit project protect public purple quality quarter queen question quick quiet
rabbit radio railway rain rapid rather ready reason receipt recipe record reduce refund region regular remain remember
remote rent repair reply report request rescue result return reward ribbon rice right ring river road rocket roof room
rubber sailor salad salmon salt sample sandwich saturday sauce save scale school science scissors screen season second
secret senior september serve service seven shadow shampoo shape sharp shelf shelter shirt shoes shop short shower
shuttle signal silver simple single sister skirt sleep slow small smart smooth snow soap social soft solar soldier
sound south space special speed spice spring square stable staff stage stairs stamp standard station steam steel stock
stone store storm story straight strange street strong student studio subtotal sugar summer sunday supply surface sweet
switch symbol system table tailor taste taxi teacher temple ten tennis terrace theater thick thirty thousand thread
thursday ticket tiger timber time tiny title toast tobacco today together tomato tomorrow tonight tooth total tourist
toward towel tower town trade traffic train travel treat trial triple trouble trousers trumpet trust tuesday tunnel
turkey twelve twenty twin uncle under union unique unit until upper urban useful usual valley value vanilla vegetable
velvet vendor vessel view village violet violin visit voice volume voyage waiter walk wallet walnut warm warning watch
water wave wealth weather website wednesday weekend weight welcome west wheat wheel whisper white window wine winter
wisdom wonder wooden world worth writer yard year yellow yesterday young zebra zero zipper
"""


def split_of(name: str) -> str:
    """The split that a word, a font family or the like belongs to, by its name alone.

    Example:
        >>> split_of("garden") == split_of("garden")
        True
    """
    tenth = hashlib.blake2b(name.encode(), digest_size=8).digest()[0] % sum(SHARES.values())
    return next(split for split, end in zip(SHARES, (5, 7, 10), strict=True) if tenth < end)


@cache
def words_of(split: str) -> tuple[str, ...]:
    """The words of a split, in order."""
    return tuple(word for word in sorted(set(_WORDS.split())) if split_of(word) == split)
