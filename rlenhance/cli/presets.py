"""`rlenhance presets`: the looks that are shipped."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.pipelines.preference_text import format_preferences
from rlenhance.pipelines.presets import shipped_presets


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    commands.add_parser("presets", help="list the presets", description="List the presets: name, the options that "
                        "each stands for, and what it is for.")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    for preset in shipped_presets():
        look = format_preferences(preset.preference, preset.strength, preset.exposure_shift)
        print(f"{preset.name}: {look}\n    {preset.about}")
    return 0
