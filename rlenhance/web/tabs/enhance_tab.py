"""The tab of enhancement: sliders, presets, variants, a reference to match, the reasons, and the whole result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.explain import stops_gained
from rlenhance.pipelines.looks import load_preset, shipped_presets
from rlenhance.web.components import (
    LIVE,
    MY_LOOK,
    SLIDERS,
    AppContext,
    Controls,
    KeptSettings,
    button,
    link,
    number,
    photo_drop,
    place_of,
    require_token,
    show_errors,
    viewer,
)
from rlenhance.web.html import before_after, data_uri, figures, notes
from rlenhance.web.model_catalog import ModelChoice
from rlenhance.web.service import Preview

_CHOSEN = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-number]');
  if (!button) return;
  trigger('select', {number: Number(button.dataset.number)});
  window.reveal(document.getElementById('drop-enhance')); });"""


class EnhanceTab:
    """The tab; its controls serve the tab of several photographs too."""

    def __init__(self, context: AppContext, page: gr.Blocks):
        self.context, self.service = context, context.service
        with gr.Row(elem_classes="workplace"):
            with gr.Column(elem_classes="stage"):
                self.photo = photo_drop("Choose a dark photograph, drop or paste it here", "enhance")
                sample = gr.Button("Try a sample photograph", size="sm", elem_id="sample-photo",
                                   elem_classes="beginning")
                self.view = viewer("view")
                self.status = gr.HTML("", elem_id="status")
            with gr.Column(elem_classes="controls"):
                with gr.Row(elem_classes="actions"):
                    save = button("Save", "save", main=True)
                    four = button("Variants", "four")
                self.saved = gr.HTML("", elem_id="saved")
                with gr.Row(elem_classes="presets") as self.by_hand:
                    presets = {preset.name: gr.Button(preset.name.replace("-", " ").capitalize(), size="sm",
                                                      min_width=0, elem_id=f"preset-{preset.name}")
                               for preset in shipped_presets()}
                with gr.Row(elem_classes="history") as self.history:
                    undo, reset = (gr.Button(words, size="sm", min_width=0, elem_id=words.lower())
                                   for words in ("Undo", "Reset"))
                self.controls = Controls(self.service)
                with gr.Accordion("Match a picture that you like", open=False) as self.like:
                    liked = photo_drop("Choose a picture that is as bright as yours should be", "match")
                    matched = gr.HTML("", elem_id="matched")
                with gr.Accordion("As a command, and as a recipe", open=False, elem_classes="developer"):
                    self.command = gr.Textbox(label="Command", lines=2, interactive=False, buttons=["copy"],
                                              elem_id="command")
                    self.recipe = gr.Textbox(label="Recipe (JSON): rlenhance enhance PHOTO --recipe FILE.json",
                                             lines=6, max_lines=12, interactive=False, buttons=["copy"],
                                             elem_id="recipe")
            with gr.Column(elem_classes="extras"):
                self.variants = gr.HTML("", elem_id="variants", js_on_load=_CHOSEN)
        self.variant_settings = gr.State([])
        anew = self._connect(sample, save, four, presets, liked, matched)
        kept = self._keep(page, presets)
        for part, act in ((undo, "undo"), (reset, "reset")):
            kept.on_click(part, act).then(**anew, show_progress="hidden")

    def _keep(self, page: gr.Blocks, presets: Iterable[str]) -> KeptSettings:
        """The settings in the browser, and those of the presets, by which the one that is chosen is marked."""
        offered = {choice.label: {name: values for name in presets if (values := self._values_of(name, choice)[0])}
                   for choice in self.service.choices.values()}
        kept = self.controls.kept
        return KeptSettings(page, "enhance", kept, automatic=[0, 1], model=kept.index(self.controls.model),
                            presets=offered)

    def _connect(self, sample: Any, save: Any, four: Any, presets: dict[str, Any], liked: Any,
                 matched: Any) -> dict[str, Any]:
        """Connect the events; what shows the photograph anew is returned."""
        controls, adjusted = self.controls, self.controls.adjusted
        level, *others = controls.sliders.values()
        shown = [self.view, self.status, self.command, self.recipe]
        given = [self.photo, *controls.all]
        again: dict[str, Any] = {"fn": show_errors(self.preview), "inputs": given, "outputs": shown,
                                 "show_progress_on": self.view}
        anew = {**again, "fn": show_errors(self.preview_anew), "outputs": [*shown, level]}
        cleared: dict[str, Any] = {"fn": lambda: ("", ""), "outputs": [self.saved, self.variants]}
        self.photo.upload(**anew).then(**cleared)
        sample.click(show_errors(self.sample), None, self.photo).then(**anew).then(**cleared)
        level.input(show_errors(self.brightness), given, [*shown, controls.auto], **LIVE)
        controls.denoise.input(show_errors(self.grain), given, [*shown, controls.auto_denoise], **LIVE)
        sliders = [controls.auto, *controls.sliders.values(), controls.shift, controls.auto_denoise, controls.denoise,
                   controls.white, self.by_hand, self.history, self.like,
                   four]
        controls.chooses.change(show_errors(self._chosen), [controls.chooses, controls.model], sliders,
                                show_progress="hidden").then(**again)
        live: list[Any] = [*others, controls.strength, controls.auto_denoise, controls.white, controls.format,
                           controls.strip]
        for part in live:
            part.input(**again, **LIVE)
        for part in (controls.auto, controls.shift):
            part.input(**anew, **LIVE)
        controls.model.change(show_errors(controls.ranges_of_model), controls.model, adjusted, show_progress="hidden")
        controls.model.input(show_errors(controls.of_model), controls.model, adjusted).then(**anew)
        for name, part in presets.items():
            part.click(show_errors(self._preset(name)), controls.model, adjusted).then(
                **anew, show_progress="hidden")
        liked.upload(show_errors(self.match), [liked, controls.model, *adjusted], [*adjusted, matched]).then(**again)
        self.view.select(show_errors(self.look), given, self.view)
        save.click(show_errors(self.save), given, self.saved, show_progress_on=self.view)
        four.click(show_errors(self.show_variants), given, [self.variants, self.variant_settings],
                   show_progress_on=self.view)
        chosen = [self.variant_settings, controls.model]
        self.variants.select(show_errors(self.take_variant), chosen, adjusted).then(**again)
        return anew

    def _chosen(self, chooses: Any, model: Any) -> list[Any]:
        """Sliders are there where they choose."""
        there, choice = chooses != MY_LOOK, self.service.choice(model)
        return [gr.update(visible=there and "exposure_level" in choice.auto),
                *(gr.update(visible=there and name in choice.ranges) for name in SLIDERS),
                gr.update(visible=there and "exposure_level" in choice.auto), *[gr.update(visible=there)] * 7]

    def sample(self) -> str:
        """The sample photograph in the place of one that was chosen."""
        return json.dumps([self.context.run(self.service.put_sample).token])

    def preview(self, photo: Any, *values: Any) -> tuple[Any, ...]:
        """Before and after on the reduced photograph, the line below it, command and recipe."""
        return self.preview_anew(photo, *values)[:-1]

    def preview_anew(self, photo: Any, *values: Any) -> tuple[Any, ...]:
        """The same, and the brightness that was chosen. (A slider that is dragged leaves out the latter: its answer may
        come when a hand is on the brightness.)"""
        request = self.controls.request(*values)
        recipe = self.service.recipe(request)
        if not photo:
            return gr.skip(), gr.skip(), request.command("PHOTO"), recipe, gr.skip()
        token = require_token(photo)
        made = self.context.run(self.service.preview, token, request)
        name, (width, height) = self.service.store.get(token).name, made.size
        level = gr.skip() if made.exposure is None else gr.update(value=round(made.exposure, 2))
        return (_view(made), notes([" \u00b7 ".join(filter(None, [name, f"{width} × {height}", made.said]))], "line"),
                request.command(name), recipe, level)

    def look(self, event: gr.EventData, photo: Any, *values: Any) -> str:
        """A part in full size, or the whole again."""
        request, token, place = self.controls.request(*values), require_token(photo), place_of(event)
        if place is None:
            return _view(self.context.run(self.service.preview, token, request))
        return _view(self.context.run(self.service.part, token, request, *place))

    def brightness(self, photo: Any, auto: Any, *values: Any) -> tuple[Any, ...]:
        """The same when a hand is on the brightness: it is no longer the photograph that decides."""
        return *self.preview(photo, False, *values), False

    def grain(self, photo: Any, *values: Any) -> tuple[Any, ...]:
        """The same when a hand is on the grain."""
        place = len(self.controls.adjusted)
        return *self.preview(photo, *values[:place], False, *values[place + 1 :]), False

    def _preset(self, name: str) -> Any:
        def turn(model: Any) -> list[Any]:
            choice = self.service.choice(model)
            values, missing = self._values_of(name, choice)
            if values is None:
                raise UsageError(f"{choice.label} has no {', '.join(missing)}, which this look turns; choose another "
                                 f"model under More")
            return values

        return turn

    def _values_of(self, name: str, choice: ModelChoice) -> tuple[list[Any] | None, list[str]]:
        """The values of `adjusted` for a preset, and the labels of what it turns and the model has not."""
        settings = load_preset(name).settings
        turned = [*(["exposure_level"] if settings.exposure_shift else ()), *settings.preference]
        missing = [SLIDERS[key][0] for key in turned if key not in choice.ranges]
        return None if missing else self.controls.values(choice, settings.preference, settings.strength,
                                                         settings.exposure_shift), missing

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
        cells = figures(((data_uri(pixels), (label,)) for label, _, pixels in made), "variants fresh")
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


def _view(made: Preview) -> str:
    """Before and after; of the whole, with the gain of every place."""
    gains = stops_gained(made.before, made.after) if made.part is None else None
    return before_after(made.before, made.after, whole=None if made.part is None else made.size,
                        part=made.part or (0, 0), gains=gains, zoom=True)
