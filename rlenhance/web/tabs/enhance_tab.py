"""The tab of enhancement: sliders, presets, variants, a reference to match, the explanation, and the whole result."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.presets import load_preset, shipped_presets
from rlenhance.web.components import (
    LIVE,
    SLIDERS,
    AppContext,
    Controls,
    button,
    link,
    number,
    photo_drop,
    placeholder,
    require_token,
    show_errors,
)
from rlenhance.web.html import before_after, data_uri, figures, notes
from rlenhance.web.service import EnhanceRequest

_CHOSEN = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-number]');
  if (button) trigger('select', {number: Number(button.dataset.number)}); });"""


class EnhanceTab:
    """The tab; its controls serve the tab of several photographs too."""

    def __init__(self, context: AppContext):
        self.context, self.service = context, context.service
        self.photo = photo_drop("Drop a dark photograph here, or press to choose one", "enhance")
        with gr.Row(elem_classes="workplace"):
            with gr.Column(scale=3, min_width=300):
                self.view = gr.HTML(placeholder("The photograph appears here, before and after."), elem_id="view")
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
                self.controls = Controls(self.service)
                with gr.Accordion("Match a picture that you like", open=False):
                    liked = photo_drop("Drop a picture that is as bright as yours should be", "match")
                    matched = gr.HTML("", elem_id="matched")
                with gr.Accordion("The same as a command, and as a recipe", open=False):
                    self.command = gr.Textbox(label="Command", lines=2, interactive=False, buttons=["copy"],
                                              elem_id="command")
                    self.recipe = gr.Textbox(label="Recipe (JSON): rlenhance enhance PHOTO --recipe FILE.json",
                                             lines=6, max_lines=12, interactive=False, buttons=["copy"],
                                             elem_id="recipe")
        self.variant_settings = gr.State([])
        self._connect(save, four, why, presets, liked, matched)

    def _connect(self, save: Any, four: Any, why: Any, presets: dict[str, Any], liked: Any, matched: Any) -> None:
        controls, adjusted = self.controls, self.controls.adjusted
        shown = [self.view, self.status, self.command, self.recipe]
        given = [self.photo, *controls.all]
        again: dict[str, Any] = {"fn": show_errors(self.preview), "inputs": given, "outputs": shown}
        fresh = self.photo.upload(**again)
        fresh.then(lambda: ("", "", ""), outputs=[self.saved, self.variants, self.reasons])
        level, *others = controls.sliders.values()
        level.input(show_errors(self.brightness), given, [controls.auto, *shown], **LIVE)
        controls.denoise.input(show_errors(self.grain), given, [controls.auto_denoise, *shown], **LIVE)
        live: list[Any] = [*others, controls.auto, controls.strength, controls.shift, controls.auto_denoise,
                           controls.white, controls.format, controls.strip]
        for part in live:
            part.input(**again, **LIVE)
        controls.model.input(show_errors(controls.of_model), controls.model, adjusted).then(**again)
        for name, part in presets.items():
            part.click(show_errors(self._preset(name)), controls.model, adjusted).then(
                **again, show_progress="hidden")
        liked.upload(show_errors(self.match), [liked, controls.model, *adjusted], [*adjusted, matched]).then(**again)
        save.click(show_errors(self.save), given, self.saved)
        four.click(show_errors(self.show_variants), given, [self.variants, self.variant_settings])
        chosen = [self.variant_settings, controls.model]
        self.variants.select(show_errors(self.take_variant), chosen, adjusted).then(**again)
        why.click(show_errors(self.explain), given, self.reasons)

    def preview(self, photo: Any, *values: Any) -> tuple[Any, ...]:
        """Before and after on the reduced photograph, the line below it, command and recipe."""
        request = self.controls.request(*values)
        recipe = self.service.recipe(request)
        if not photo:
            return gr.skip(), gr.skip(), request.command("PHOTO"), recipe
        start, token = time.perf_counter(), require_token(photo)
        made = self.context.run(self.service.preview, token, request)
        name = self.service.store.get(token).name
        (width, height), seconds = made.size, time.perf_counter() - start
        level = [f"{pixels.mean() / 255:.2f}" for pixels in (made.before, made.after)]
        said = (f"{name}: {width} × {height}, {width * height / 1e6:.1f} megapixels; mean brightness {level[0]} → "
                f"{level[1]}; shown in {seconds:.2f} s")
        view = before_after(made.before, made.after, name="enhance")
        return view, notes([said, *filter(None, [made.said])], "line"), request.command(name), recipe

    def brightness(self, photo: Any, auto: Any, *values: Any) -> tuple[Any, ...]:
        """The same when a hand is on the brightness: it is no longer the photograph that decides."""
        return False, *self.preview(photo, False, *values)

    def grain(self, photo: Any, *values: Any) -> tuple[Any, ...]:
        """The same when a hand is on the grain."""
        place = len(self.controls.adjusted)
        return False, *self.preview(photo, *values[:place], False, *values[place + 1 :])

    def _preset(self, name: str) -> Any:
        def turn(model: Any) -> list[Any]:
            choice, preset = self.service.choice(model), load_preset(name)
            turned = [*(["exposure_level"] if preset.exposure_shift else ()), *preset.preference]
            missing = [SLIDERS[key][0] for key in turned if key not in choice.ranges]
            if missing:
                raise UsageError(f"{choice.label} has no {', '.join(missing)}, which this look turns; choose another "
                                 f"model under More")
            return self.controls.values(choice, preset.preference, preset.strength, preset.exposure_shift)

        return turn

    def match(self, photo: Any, model: Any, *values: Any) -> list[Any]:
        """The sliders as a picture asks for them, and what there is to say of it."""
        found, moved = self.context.run(self.service.match, require_token(photo), model)
        turned = dict(zip(SLIDERS, values[1:-2], strict=True)) | found
        said = [f"{SLIDERS[name][0]} is set to {value:g}, as in that picture" for name, value in found.items()]
        return [False, *turned.values(), *values[-2:], notes(said, "good") + notes(moved)]

    def save(self, photo: Any, *values: Any) -> str:
        """The whole photograph, and the link that fetches it."""
        return link(self.context.run(self.service.save, require_token(photo), self.controls.request(*values)))

    def show_variants(self, photo: Any, *values: Any) -> tuple[str, list[Any]]:
        """Four looks around this one, each with a button that takes it."""
        made = self.context.run(self.service.variants, require_token(photo), self.controls.request(*values))
        cells = figures(((data_uri(pixels), (label,)) for label, _, pixels in made), "variants")
        for number_, (label, _, _) in enumerate(made):
            taken = f'<button type="button" data-number="{number_}" aria-label="Take {label}">Take this one</button>'
            cells = cells.replace("</figcaption></figure>", f"</figcaption>{taken}</figure\n>", 1)
        return cells, [[dict(request.settings.preference), request.settings.strength] for _, request, _ in made]

    def take_variant(self, variant_settings: Any, model: Any, event: gr.EventData) -> list[Any]:
        """The sliders of the variant that was taken."""
        place = event._data.get("number") if isinstance(event._data, dict) else None
        if not isinstance(place, int) or not 0 <= place < len(variant_settings):
            raise UsageError("that variant is no longer there; show four again")
        preference, strength = variant_settings[place]
        return self.controls.values(self.service.choice(model), preference, number(strength, "How much"))

    def explain(self, photo: Any, *values: Any) -> str:
        """What each step did, where, and the gain in brightness."""
        request: EnhanceRequest = self.controls.request(*values)
        cells = self.context.run(self.service.explain, require_token(photo), request)
        return notes(["Each step of the policy as four maps, in the order of the words below it: orange turned it up "
                      "there, blue down, white left it alone. The gain is what all steps together did to the "
                      "brightness."], "line") + figures(((data_uri(cell.pixels), cell.lines) for cell in cells),
                                                        "small")
