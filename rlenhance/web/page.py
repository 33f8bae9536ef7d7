"""The page: its tabs and its theme."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes.utils import colors, sizes

from rlenhance.core import __version__
from rlenhance.web.components import AppContext
from rlenhance.web.tabs.compare_tab import CompareTab
from rlenhance.web.tabs.complete_tab import CompleteTab
from rlenhance.web.tabs.enhance_tab import EnhanceTab
from rlenhance.web.tabs.pipeline_tab import PipelineTab
from rlenhance.web.tabs.runs_tab import RunsTab
from rlenhance.web.tabs.several_tab import SeveralTab
from rlenhance.web.tabs.taste_tab import TasteTab

_HERE = Path(__file__).parent
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_CODE = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
#: Colours in light and in dark: one accent on neutral grey, which leaves the colours of photographs alone; page.css has
#: the same accent.
_ACCENT, _ON_ACCENT, _TEXT = ("#a8480f", "#f0a252"), ("#ffffff", "#1c1206"), ("#1c1c1c", "#ececec")
_SUBDUED, _PANEL = ("#5a5a5a", "#a9a9a9"), ("#ffffff", "#1f1f1f")
_COLORS = {
    "body_background_fill": ("#f5f5f5", "#161616"), "background_fill_primary": _PANEL,
    "background_fill_secondary": ("#ececec", "#262626"), "block_background_fill": _PANEL,
    "border_color_primary": ("#d9d9d9", "#383838"), "input_background_fill": ("#f1f1f1", "#2b2b2b"),
    "body_text_color": _TEXT, "block_label_text_color": _TEXT, "block_title_text_color": _TEXT,
    "body_text_color_subdued": _SUBDUED, "block_info_text_color": _SUBDUED, "slider_color": _ACCENT,
    "button_primary_background_fill": _ACCENT, "button_primary_background_fill_hover": ("#8a3a0b", "#f7b877"),
    "button_primary_text_color": _ON_ACCENT, "button_primary_text_color_hover": _ON_ACCENT,
    "button_primary_border_color": _ACCENT, "button_primary_border_color_hover": _ACCENT,
    "button_secondary_background_fill": ("#e9e9e9", "#2f2f2f"), "button_secondary_text_color": _TEXT,
    "button_secondary_background_fill_hover": ("#dedede", "#3a3a3a"),
    "checkbox_background_color_selected": _ACCENT, "checkbox_border_color_selected": _ACCENT,
    "checkbox_background_color": ("#ffffff", "#2b2b2b"), "checkbox_border_color": ("#8a8a8a", "#7a7a7a"),
}
_SIZES = {"block_border_width": "0px", "input_border_width": "1px", "button_large_text_size": "*text_md",
          "button_large_text_weight": "600", "button_large_padding": "8px 16px", "button_small_padding": "5px 12px",
          "button_small_text_size": "*text_sm", "layout_gap": "12px", "form_gap_width": "0px", "block_shadow": "none",
          "button_large_radius": "8px", "button_small_radius": "8px"}
#: The developer's things are hidden by the style sheet, their tabs by the event.
_DEVELOPER = "(on) => { document.body.classList.toggle('developer', on); return [on]; }"


def build(context: AppContext) -> gr.Blocks:
    """Build the page."""
    with gr.Blocks(title="rlenhance", analytics_enabled=False, fill_width=True) as page:
        gr.HTML('<header class="topline"><h1>rlenhance</h1><p>Dark photographs made light, old ones repaired, holes '
                "filled.</p></header>")
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Enhance", id="enhance"):
                enhance = EnhanceTab(context, page)
            with gr.Tab("Several", id="several"):
                SeveralTab(context, enhance.controls)
            with gr.Tab("My look", id="taste"):
                TasteTab(context, enhance.controls)
            with gr.Tab("Denoise", id="denoise"):
                PipelineTab(context, page, "denoise")
            with gr.Tab("Complete", id="complete"):
                CompleteTab(context, page)
            with gr.Tab("Enlarge", id="enlarge"):
                PipelineTab(context, page, "enlarge")
            with gr.Tab("Restore", id="restore"):
                PipelineTab(context, page, "restore")
            with gr.Tab("Compare models", id="compare", visible=False) as compare:
                CompareTab(context)
            with gr.Tab("Training runs", id="runs", visible=False) as runs:
                RunsTab(context)
        with gr.Row(elem_id="foot"):
            gr.HTML(f"<p>Photographs go to the machine that runs this page, and nowhere else. rlenhance "
                    f'{html.escape(__version__)} <button type="button" id="theme">Light or dark</button></p>')
            developer = gr.Checkbox(False, label="Developer tools", elem_id="developer", container=False)
        developer.input(lambda on: (gr.update(visible=on), gr.update(visible=on)), developer, [compare, runs],
                        js=_DEVELOPER, show_progress="hidden")
    return page


def theme_options() -> dict[str, Any]:
    """Theme, style sheet and scripts for Gradio, with system fonts and no external resources."""
    theme = gr.themes.Base(primary_hue=colors.orange, secondary_hue=colors.orange, neutral_hue=colors.neutral,
                           text_size=sizes.text_sm, spacing_size=sizes.spacing_sm, font=_FONTS, font_mono=_CODE)
    words = {f"{name}{ending}": value for name, pair in _COLORS.items()
             for ending, value in zip(("", "_dark"), pair, strict=True)}
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in ("page.js", "viewer.js", "settings.js"))
    return {"theme": theme.set(color_accent=_ACCENT[0], **words, **_SIZES),
            "css": (_HERE / "page.css").read_text(encoding="utf-8"), "head": f"<script>{script}</script>"}
