"""The tab that learns a look: versions of photographs, of which a person picks one, until the look is sure."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import parse_json
from rlenhance.looks.taste import FEWEST, MOST, TasteSession
from rlenhance.pipelines.looks import Look, look_from_json
from rlenhance.web.components import (
    MOST_PHOTOS,
    MY_LOOK,
    AppContext,
    Controls,
    button,
    look_file,
    look_request,
    photo_drop,
    show_errors,
)
from rlenhance.web.file_store import parse_tokens, unique_names
from rlenhance.web.html import data_uri, download, figures, notes
from rlenhance.web.service import EnhanceRequest

#: Photographs at most; more are not asked about.
PHOTOS = 8
_VERSIONS = {"four versions at a time": 4, "two versions at a time": 2}
#: Code of an answer -> the session's word and what stands on its button; smaller codes are the numbers of versions.
ANSWERS = {90: ("neither", "None of them"), 91: ("alike", "All alike"), 92: ("skip", "Skip"), 93: ("undo", "Undo")}
_OFFERED = gr.update(visible=True, value=MY_LOOK)
#: A press on a version or on a button, or its key, is a selection: 100 times the question's number plus the code.
_PICKS = """const send = (code) => {
  const sheet = element.querySelector('[data-question]');
  if (sheet && element.querySelector(`[data-code="${code}"]`))
    trigger('select', {number: 100 * sheet.dataset.question + code});
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-code]');
  if (button) send(Number(button.dataset.code));
});
document.addEventListener('keydown', (event) => {
  if (!element.isConnected || element.offsetParent === null) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('input, textarea, select, [role=listbox]')) return;
  const digit = /^[1-9]$/.test(event.key) ? event.key - 1 : -1;
  const code = { n: 90, a: 91, s: 92, u: 93 }[event.key.toLowerCase()] ?? digit;
  if (code >= 0) send(code);
});"""


class TasteTab:
    """The tab.

    Args:
        context: of the page.
        controls: of the first tab, which get the look.
    """

    def __init__(self, context: AppContext, controls: Controls):
        self.context, self.service = context, context.service
        session = gr.State(None)
        with gr.Row(elem_classes="workplace tasting"):
            with gr.Column(elem_classes="stage"):
                photos = photo_drop(f"Choose three to {PHOTOS} of your photographs, or drop them here", "taste",
                                    several=MOST_PHOTOS)
                view = gr.HTML("", elem_id="versions", js_on_load=_PICKS)
            with gr.Column(elem_classes="controls"):
                progress = gr.HTML(_beginning(), elem_id="taste-progress")
                with gr.Row(elem_classes="actions"):
                    save = button("Save my look", "save-look", main=True)
                saved = gr.HTML("", elem_id="look-saved")
                versions = gr.Dropdown(list(_VERSIONS), value=next(iter(_VERSIONS)), show_label=False, filterable=False,
                                       elem_id="how-many", label="How many versions")
                loaded = look_file("Load the file of a look")
            with gr.Column(elem_classes="extras"):
                result = gr.HTML("", elem_id="look-result")
        asked = [session, view, progress]
        quiet: dict[str, Any] = {"show_progress_on": view}
        for event in (photos.upload, versions.input):
            event(show_errors(self.begin), [photos, versions], asked, **quiet).then(lambda: ("", ""),
                                                                                     outputs=[saved, result])
        view.select(show_errors(self.answer), session, asked, show_progress="hidden")
        kept = [controls.my_look, controls.chooses]
        save.click(show_errors(self.save), session, [saved, result, *kept], **quiet)
        loaded.upload(show_errors(self.load), loaded, [saved, *kept])

    def begin(self, photos: Any, versions: Any) -> tuple[Any, Any, Any]:
        """The first question about photographs."""
        tokens = parse_tokens(photos)
        if not tokens:
            return gr.skip(), gr.skip(), gr.skip()
        if versions not in _VERSIONS:
            raise UsageError(f"there are {', '.join(_VERSIONS)}; got {versions!r:.40}")
        session = self.context.run(self._session, tokens[:PHOTOS], _VERSIONS[versions])
        return session, *self.context.run(next_question, session)

    def _session(self, tokens: list[str], versions: int) -> TasteSession:
        names = unique_names([self.service.store.get(token).name for token in tokens])
        pixels = [self.service.reduced_photo(token).photo.visible_pixels for token in tokens]
        return TasteSession(self.service.enhancer(EnhanceRequest()), dict(zip(names, pixels, strict=True)),
                            options=versions)

    def answer(self, event: gr.EventData, session: TasteSession | None) -> tuple[Any, Any, Any]:
        """The next question; an answer to an earlier one, as of a double press, changes nothing."""
        number = event._data.get("number") if isinstance(event._data, dict) else None
        if session is None or not isinstance(number, int):
            raise UsageError("choose photographs first")
        question, code = divmod(number, 100)
        return self.context.run(_answered, session, question, code)

    def save(self, session: TasteSession | None) -> tuple[Any, ...]:
        """The look as a file and as a choice of the page, and the photographs in it."""
        if session is None or session.answered < FEWEST:
            raise UsageError(f"a look needs {FEWEST} picks at least")
        look, pictures = self.context.run(_finished, session)
        text = look.to_json().encode()
        stored = self.service.store.create("my-look.json", ".json")
        self.service.store.claim(stored.token, len(text))
        stored.path.write_bytes(text)
        link = download(f"take/{stored.token}", stored.name, len(text), "Download")
        shown = figures(((data_uri(pixels), (name,)) for name, pixels in pictures), "pair")
        return _kept_words("It is saved.") + link, f"<h3>Your look</h3>{shown}", look, _OFFERED

    def load(self, text: Any) -> tuple[Any, ...]:
        """A look from its file."""
        try:
            look = look_from_json(parse_json(text or "", "the text"))
        except UsageError as error:
            raise UsageError(f"the file of the look: {error}") from error
        self.context.run(self.service.enhancer, look_request(self.service, look))  # the model takes it
        return _kept_words(f"The look is loaded; it was made with {look.model}."), look, _OFFERED


def _answered(session: TasteSession, question: int, code: int) -> tuple[Any, Any, Any]:
    if question != session.question().number:
        return gr.skip(), gr.skip(), gr.skip()
    word = ANSWERS[code][0] if code in ANSWERS else None
    if word == "undo":
        session.undo()
    else:
        session.answer(code if word is None else word)
    return session, *next_question(session)


def next_question(session: TasteSession) -> tuple[str, str]:
    """The present question and the progress, as HTML."""
    question = session.question()
    cells = "".join(f'<button type="button" data-code="{number}" aria-label="Version {number + 1}">'
                    f'<img src="{data_uri(pixels, 88)}" alt="Version {number + 1}"><kbd>{number + 1}</kbd></button>'
                    for number, pixels in enumerate(session.previews()))
    others = "".join(f'<button type="button" data-code="{code}"{" disabled" * (word == "undo" and not session.picks)}>'
                     f"{words} <kbd>{word[0].upper()}</kbd></button>" for code, (word, words) in ANSWERS.items())
    sheet = (f'<div class="versions" data-question="{question.number}"><p class="line">Which do you like best? '
             f"<b>{html.escape(question.photo)}</b></p><div class=\"sheet\">{cells}</div>"
             f'<div class="answers">{others}</div></div>')
    ready = ' class="ready"' if session.answered >= FEWEST else ""
    share = f"sure to {session.certainty().share:.0%}" if ready else f"a first look after {FEWEST}"
    title = "Your look is ready" if session.enough else f"Pick {session.answered + 1}"
    return sheet, (f'<div{ready}><h3>{title}</h3><progress max="{MOST}" value="{session.answered}" aria-label="Picks">'
                   f"</progress>{notes([f'{session.answered} of 8 to {MOST} picks; {share}'], 'line')}</div>")


def _finished(session: TasteSession) -> tuple[Look, list[tuple[str, Any]]]:
    return session.look(), [(name, session.best_preview(name)) for name in session.photos]


def _beginning() -> str:
    return "<h3>A look of your own</h3>" + notes([
        "You see versions of your photographs and pick the one that you like best. After 8 to 15 picks the page knows "
        "what you like, and every further photograph gets it, each as it needs."], "line")


def _kept_words(words: str) -> str:
    return notes([f"{words} Enhance and Several use it now; Settings there goes back."], "good")
