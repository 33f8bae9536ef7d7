"""The tab of training runs: curves, sample sheets over time, signs of collapse."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.web.components import LIVE, AppContext, button, placeholder, show_errors, slider
from rlenhance.web.html import chart, figures, file_uri, notes
from rlenhance.web.run_reader import PANELS, Run, list_runs, open_run


class RunsTab:
    """The tab."""

    def __init__(self, context: AppContext):
        self.context, self.root = context, context.service.runs
        names = list(list_runs(self.root))
        with gr.Row():
            run = gr.Dropdown(names, value=None, label=f"Run in {self.root or 'no folder (see --runs)'}", elem_id="run",
                              filterable=False)
            again = button("Look again", "look-again")
        watch = gr.HTML(placeholder("Choose a run: its curves, its samples and the watch for collapse appear here."),
                        elem_id="watch")
        charts = gr.HTML("", elem_id="charts")
        more = gr.Dropdown([], multiselect=True, label="More numbers to draw", elem_id="more", visible=False)
        with gr.Row():
            sheet = gr.Dropdown([], label="Samples", elem_id="sheet", visible=False, filterable=False)
            step = slider(0, 1, 0, step=1, label="From the first to the last", elem_id="sample", visible=False)
        sample = gr.HTML("", elem_id="sample-view")
        shown = [watch, charts, more, sheet, step, sample]
        run.input(show_errors(self.open), run, shown)
        again.click(show_errors(self.refresh), run, run).then(show_errors(self.open), run, shown)
        more.input(show_errors(self.draw), [run, more], charts, show_progress="hidden")
        sheet.input(show_errors(self.open_samples), [run, sheet], [step, sample])
        step.input(show_errors(self.page), [run, sheet, step], sample, **LIVE)

    def refresh(self, label: Any) -> Any:
        """The runs that are there now."""
        names = list(list_runs(self.root))
        return gr.update(choices=names, value=label if label in names else None)

    def open(self, label: Any) -> tuple[Any, ...]:
        """All of a run."""
        if not label:
            return tuple(gr.skip() for _ in range(6))
        run = open_run(self.root, label)
        signs = run.watch()
        asked = ", ".join(f"{name} {value}" for name in ("learner", "data", "reward", "updates", "minutes")
                          if (value := run.asked.get(name)))
        warnings = notes([sign.text for sign in signs if sign.alarm], "alarm") + \
            notes([sign.text for sign in signs if not sign.alarm], "good")
        if not signs:
            warnings = notes(["nothing is known of a collapse: this run was not evaluated yet, or is none of a policy"],
                             "line")
        sheets = list(run.samples)
        first = max(sheets, key=lambda name: len(run.samples[name])) if sheets else None
        step, picture = self._open_samples(run, first)
        return (f"<h3>The watch for collapse</h3>{warnings}{notes([*([asked] if asked else []), *run.facts], 'line')}",
                self._drawn(run, []),
                gr.update(choices=sorted(run.curves), value=[], visible=bool(run.curves)),
                gr.update(choices=sheets, value=first, visible=bool(sheets)), step, picture)

    def draw(self, label: Any, more: Any) -> str:
        """The curves, with those that were asked for."""
        return self._drawn(open_run(self.root, label), more or [])

    def open_samples(self, label: Any, sheet: Any) -> tuple[Any, Any]:
        """The last sheet of a name."""
        return self._open_samples(open_run(self.root, label), sheet)

    def page(self, label: Any, sheet: Any, place: Any) -> str:
        """One sheet of those that were made over time."""
        files = open_run(self.root, label).samples.get(str(sheet), ())
        if not isinstance(place, (int, float)) or not 0 <= place < len(files):
            raise UsageError(f"{sheet}: {len(files)} samples; got {place!r}")
        update, path = files[int(place)]
        return figures([(file_uri(path), (f"{sheet} after {update} updates",))], "wide")

    def _open_samples(self, run: Run, sheet: Any) -> tuple[Any, Any]:
        files = run.samples.get(str(sheet), ())
        if not files:
            return gr.update(visible=False), ""
        update, path = files[-1]
        return (gr.update(minimum=0, maximum=max(len(files) - 1, 1), value=len(files) - 1, visible=len(files) > 1),
                figures([(file_uri(path), (f"{sheet} after {update} updates",))], "wide"))

    def _drawn(self, run: Run, more: Any) -> str:
        drawn = [chart(title, run.matching(patterns), alarm) for title, patterns, alarm in PANELS]
        drawn += [chart(str(name), {str(name): run.curves[name]}) for name in more if name in run.curves]
        return f'<div class="charts">{"".join(drawn)}</div>'
