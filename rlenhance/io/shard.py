"""A part of a large number of photographs, for runs that know nothing of each other."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from rlenhance.core.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint parts, chosen by a hash of each name.

    A name falls to one shard whatever other names there are, on every machine, so files may come and go between runs.
    The sizes of shards differ as those of random draws do: by about the root of their mean.

    Attributes:
        index: number of the part, from 0.
        count: number of parts.

    Raises:
        UsageError: an index outside [0, count).
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            known = f"0/{self.count} to {self.count - 1}/{self.count}, counted from 0" if self.count > 0 else "0/1"
            raise UsageError(f"a shard (shard) is one of {known}; got {self.index}/{self.count}")

    @classmethod
    def parse(cls, word: str) -> Shard:
        """The shard that a word like "0/8" names.

        Raises:
            UsageError: it names none.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", word)
        if match is None:
            raise UsageError(f"a shard (shard) is number/count, counted from 0, as in 0/8; got {word!r:.60}")
        return cls(int(match[1]), int(match[2]))

    def holds(self, name: str) -> bool:
        """Whether a name is one of the shard's.

        Example:
            >>> [name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg") if Shard(0, 2).holds(name)]
            ['a.jpg', 'b.jpg', 'd.jpg']
        """
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index
