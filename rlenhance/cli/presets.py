"""`rlenhance presets`: the looks that are shipped."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.pipelines.looks import shipped_presets
from rlenhance.pipelines.preference_text import format_preferences


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    commands.add_parser("presets", help="list the presets", description="List the presets: name, the options that "
                        "each stands for, and what it is for.")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    for preset in shipped_presets():
        settings = preset.settings
        flags = format_preferences(settings.preference, settings.strength, settings.exposure_shift)
        print(f"{preset.name}: {flags}\n    {preset.use}")
    return 0
