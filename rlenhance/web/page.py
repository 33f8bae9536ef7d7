"""The page: its tabs and its theme."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from rlenhance.core import __version__
from rlenhance.web.components import AppContext
from rlenhance.web.tabs.compare_tab import CompareTab
from rlenhance.web.tabs.complete_tab import CompleteTab
from rlenhance.web.tabs.denoise_tab import DenoiseTab
from rlenhance.web.tabs.enhance_tab import EnhanceTab
from rlenhance.web.tabs.restore_tab import RestoreTab
from rlenhance.web.tabs.runs_tab import RunsTab
from rlenhance.web.tabs.several_tab import SeveralTab

_HERE = Path(__file__).parent
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_CODE = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def build(context: AppContext) -> gr.Blocks:
    """Build the page."""
    with gr.Blocks(title="rlenhance", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(f'<div class="topline"><h1>rlenhance</h1><p>Dark photographs made light, holes filled, grain taken '
                f"out, old ones repaired. Pictures go to the machine that runs this page, and nowhere else. "
                f"{html.escape(__version__)}</p></div>")
        with gr.Tabs():
            with gr.Tab("Enhance", id="enhance"):
                enhance = EnhanceTab(context)
            with gr.Tab("Several", id="several"):
                SeveralTab(context, enhance.controls)
            with gr.Tab("Complete", id="complete"):
                CompleteTab(context)
            with gr.Tab("Denoise", id="denoise"):
                DenoiseTab(context)
            with gr.Tab("Restore", id="restore"):
                RestoreTab(context)
            with gr.Tab("Compare models", id="compare"):
                CompareTab(context)
            with gr.Tab("Training runs", id="runs"):
                RunsTab(context)
    return page


def theme_options() -> dict[str, Any]:
    """Theme, style sheet and script for Gradio, with system fonts and no external resources."""
    theme = gr.themes.Base(primary_hue="orange", secondary_hue="orange", neutral_hue="stone", font=_FONTS,
                           font_mono=_CODE).set(body_background_fill_dark="#1b1a19")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return {"theme": theme, "css": (_HERE / "page.css").read_text(encoding="utf-8"),
            "head": f"<script>{script}</script>"}
