"""The tab that brightens one photograph: sliders, presets, variants, a picture to match, why, and the whole result."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.presets import load_preset, shipped_presets
from rlenhance.web.components import KNOBS, LIVE, Controls, Desk, button, drop, link, nothing, number, token_of, told
from rlenhance.web.html import data_uri, figures, notes, split
from rlenhance.web.service import Look

_CHOSEN = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-number]');
  if (button) trigger('select', {number: Number(button.dataset.number)}); });"""


class EnhanceTab:
    """The tab; its controls serve the tab of several photographs too."""

    def __init__(self, desk: Desk):
        self.desk, self.studio = desk, desk.studio
        self.photo = drop("Drop a dark photograph here, or press to choose one", "enhance")
        with gr.Row(elem_classes="workplace"):
            with gr.Column(scale=3, min_width=300):
                self.view = gr.HTML(nothing("The photograph appears here, before and after."), elem_id="view")
                self.status = gr.HTML("", elem_id="status")
                with gr.Row():
                    save = button("Save in full size", "save", main=True)
                    four = button("Show four variants", "four")
                    why = button("Show me why", "why")
                self.saved = gr.HTML("", elem_id="saved")
                self.variants = gr.HTML("", elem_id="variants", js_on_load=_CHOSEN)
                self.reasons = gr.HTML("", elem_id="reasons")
            with gr.Column(scale=2, min_width=300):
                with gr.Row(elem_classes="presets"):
                    presets = {preset.name: gr.Button(preset.name.replace("-", " ").capitalize(), size="sm",
                                                      min_width=90, elem_id=f"preset-{preset.name}")
                               for preset in shipped_presets()}
                self.controls = Controls(self.studio)
                with gr.Accordion("Match a picture that you like", open=False):
                    liked = drop("Drop a picture that is as bright as yours should be", "match")
                    matched = gr.HTML("", elem_id="matched")
                with gr.Accordion("The same as a command, and as a recipe", open=False):
                    self.command = gr.Textbox(label="Command", lines=2, interactive=False, buttons=["copy"],
                                              elem_id="command")
                    self.recipe = gr.Textbox(label="Recipe (JSON): rlenhance enhance PHOTO --recipe FILE.json",
                                             lines=6, max_lines=12, interactive=False, buttons=["copy"],
                                             elem_id="recipe")
        self.looks = gr.State([])
        self._connect(save, four, why, presets, liked, matched)

    def _connect(self, save: Any, four: Any, why: Any, presets: dict[str, Any], liked: Any, matched: Any) -> None:
        controls, shown = self.controls, [self.view, self.status, self.command, self.recipe]
        given = [self.photo, *controls.all]
        again: dict[str, Any] = {"fn": told(self.preview), "inputs": given, "outputs": shown}
        fresh = self.photo.upload(**again)
        fresh.then(lambda: ("", "", ""), outputs=[self.saved, self.variants, self.reasons])
        level, *others = controls.sliders.values()
        level.input(told(self.brightness), given, [controls.auto, *shown], **LIVE)
        live: list[Any] = [*others, controls.auto, controls.strength, controls.denoise, controls.format, controls.strip]
        for part in live:
            part.input(**again, **LIVE)
        controls.model.input(told(controls.of_model), controls.model, controls.turned).then(**again)
        for name, part in presets.items():
            part.click(told(self._preset(name)), controls.model, controls.turned).then(**again, show_progress="hidden")
        liked.upload(told(self.match), [liked, controls.model, *controls.turned], [*controls.turned, matched]).then(
            **again)
        save.click(told(self.save), given, self.saved)
        four.click(told(self.four), given, [self.variants, self.looks])
        self.variants.select(told(self.chosen), [self.looks, controls.model], controls.turned).then(**again)
        why.click(told(self.why), given, self.reasons)

    def preview(self, photo: Any, *values: Any) -> tuple[Any, ...]:
        """Before and after on the reduced photograph, the line below it, command and recipe."""
        look = self.controls.look(*values)
        recipe = self.studio.recipe(look)
        if not photo:
            return gr.skip(), gr.skip(), look.command("PHOTO"), recipe
        start, token = time.perf_counter(), token_of(photo)
        made = self.desk.do(self.studio.preview, token, look)
        name = self.studio.shelf.find(token).name
        (width, height), seconds = made.size, time.perf_counter() - start
        level = [f"{pixels.mean() / 255:.2f}" for pixels in (made.before, made.after)]
        line = (f"{name}: {width} × {height}, {width * height / 1e6:.1f} megapixels; mean brightness {level[0]} → "
                f"{level[1]}; shown in {seconds:.2f} s")
        return split(made.before, made.after, name="enhance"), notes([line], "line"), look.command(name), recipe

    def brightness(self, photo: Any, auto: Any, *values: Any) -> tuple[Any, ...]:
        """The same when a hand is on the brightness: it is no longer the photograph that decides."""
        return False, *self.preview(photo, False, *values)

    def _preset(self, name: str) -> Any:
        def turn(model: Any) -> list[Any]:
            choice, preset = self.studio.choice(model), load_preset(name)
            missing = [KNOBS[key][0] for key in preset.preference if key not in choice.ranges]
            if missing:
                raise UsageError(f"{choice.label} has no {', '.join(missing)}, which this look turns; choose another "
                                 f"model under More")
            return self.controls.values(choice, preset.preference, preset.strength)

        return turn

    def match(self, photo: Any, model: Any, *values: Any) -> list[Any]:
        """The sliders as a picture asks for them, and what there is to say of it."""
        found, moved = self.desk.do(self.studio.match, token_of(photo), model)
        turned = dict(zip(KNOBS, values[1:-1], strict=True)) | found
        said = [f"{KNOBS[name][0]} is set to {value:g}, as in that picture" for name, value in found.items()]
        return [False, *turned.values(), values[-1], notes(said, "good") + notes(moved)]

    def save(self, photo: Any, *values: Any) -> str:
        """The whole photograph, and the link that fetches it."""
        return link(self.desk.do(self.studio.save, token_of(photo), self.controls.look(*values)))

    def four(self, photo: Any, *values: Any) -> tuple[str, list[Any]]:
        """Four looks around this one, each with a button that takes it."""
        made = self.desk.do(self.studio.variants, token_of(photo), self.controls.look(*values))
        cells = figures(((data_uri(pixels), (label,)) for label, _, pixels in made), "variants")
        for number_, (label, _, _) in enumerate(made):
            taken = f'<button type="button" data-number="{number_}" aria-label="Take {label}">Take this one</button>'
            cells = cells.replace("</figcaption></figure>", f"</figcaption>{taken}</figure\n>", 1)
        return cells, [[dict(look.preference), look.strength] for _, look, _ in made]

    def chosen(self, looks: Any, model: Any, event: gr.EventData) -> list[Any]:
        """The sliders of the variant that was taken."""
        place = event._data.get("number") if isinstance(event._data, dict) else None
        if not isinstance(place, int) or not 0 <= place < len(looks):
            raise UsageError("that variant is no longer there; show four again")
        preference, strength = looks[place]
        return self.controls.values(self.studio.choice(model), preference, number(strength, "How much"))

    def why(self, photo: Any, *values: Any) -> str:
        """What each step did, where, and the gain in brightness."""
        look: Look = self.controls.look(*values)
        cells = self.desk.do(self.studio.why, token_of(photo), look)
        return notes(["Each step of the policy as four maps, in the order of the words below it: orange turned it up "
                      "there, blue down, white left it alone. The gain is what all steps together did to the "
                      "brightness."], "line") + figures(((data_uri(cell.pixels), cell.lines) for cell in cells),
                                                        "small")
