"""How text is told from none: fitted on what was read, with a threshold that silences little text."""

import numpy as np

from rlenhance_read.ocr.readings import Reading, Word
from rlenhance_read.scripts.fit_text_gate import Sample, fit, measure


def sample(split, text, sure):
    reading = Reading((Word("open" if text else "~i", sure, (0, 0, 9, 9)),))
    return Sample(split, "open" if text else None, (reading, Reading()), 0)


def test_the_threshold_is_that_of_validation_scenes():
    """Sure readings are text and the others none; the threshold silences the share of the text that was asked for, and
    readings without words are silent anyway."""
    rng = np.random.default_rng(0)
    found = [sample(split, text, float(np.clip(rng.normal(0.8 if text else 0.3, 0.1), 0, 1)))
             for split in ("train", "val", "test") for text in (True, False) for _ in range(100)]
    gate = fit(found, 0.05)
    val, test = measure(gate, found, "val"), measure(gate, found, "test")
    assert 0.03 <= val["of these silenced"] <= 0.05 and test["of these silenced"] < 0.15
    assert test["silent"] > 0.9 and test["silent without the gate"] == 0
    assert test["accuracy with the gate"] == test["accuracy"] - test["silenced"]
    nothing = Sample("test", None, (Reading(),), 0)
    assert measure(gate, [*found, nothing], "test")["silent without the gate"] > 0
