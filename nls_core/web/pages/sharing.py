"""The part of Compare that gives the view away: numbers, files, its link, and code for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from nls_core.errors import InvalidInput
from nls_core.views import snippets
from nls_core.web.edge.middleware import UI_PATH
from nls_core.web.edge.trust import split_host
from nls_core.web.pages.answers import Answers
from nls_core.web.pages.controls import Values, epsilon_slider
from nls_core.web.pages.links import PICTURE, READERS, Links
from nls_core.web.pages.menus import REFILLED
from nls_core.web.pages.widgets import LANE, LOOK, PRIVATE, message

FILES = {  # kind of file -> its button
    "json": "Prepare JSON",
    "csv": "Prepare CSV",
    "html": "Prepare HTML report",
    "zip": "Prepare charts (SVG)",
}
QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
# on opening: the query, if it is one of ours, where the app answers, and whether to compute at once
ASK = f"""() => {{
  const own = {json.dumps(["family", PICTURE, *READERS])};
  const asked = own.some(name => new URLSearchParams(location.search).has(name));
  return [asked ? location.search : '', location.href.split('{UI_PATH}')[0],
          OPENS && !asked ? 'opened' : '']; }}"""
# the address bar follows; what is not ours, as Gradio's __theme, stays
FOLLOW = f"""query => {{
  const own = new Set({json.dumps(["family", PICTURE, *READERS])}), url = new URL(location);
  const other = [...url.searchParams].filter(([name]) => !own.has(name));
  url.search = [query, new URLSearchParams(other).toString()].filter(Boolean).join('&');
  if (query) history.replaceState(history.state, '', url); }}"""
# navigator.clipboard is only there over https and on localhost
COPY = """async (text) => { try { await navigator.clipboard.writeText(text); } catch {
  const area = document.createElement('textarea');
  area.value = text; document.body.append(area); area.select();
  document.execCommand('copy'); area.remove(); } }"""
COPIES = f"""const copy = {COPY};
element.addEventListener('click', async event => {{
  const button = event.target.closest('button');
  if (!button) return;
  await copy(button.nextElementSibling.textContent);
  button.textContent = 'Copied';
  setTimeout(() => {{ button.textContent = 'Copy'; }}, 2000); }});"""


class Sharing:
    """The components, and how they follow the page; `inputs` are its controls by name."""

    def __init__(self, answers: Answers, inputs: Mapping[str, Any]) -> None:
        self.answers, self.inputs, self.work = answers, inputs, answers.work
        self.links = Links(answers.work)

    def notice(self) -> None:
        """Where it is said what of a link could not be had; hidden, what its restoring needs."""
        self.told = gr.HTML(elem_id="link-notice")
        self.asked, self.restored, self.here, self.query = (
            gr.Textbox(visible="hidden", elem_id=f"link-{name}")
            for name in ("asked", "restored", "here", "query")
        )

    def build(self, numbers: str) -> None:
        """The accordion under the results, with the table of numbers."""
        with gr.Accordion("Numbers and export", open=False) as self.accordion:
            self.numbers = gr.HTML(numbers)
            with gr.Row():
                self.buttons = {
                    kind: gr.Button(text, size="sm", min_width=120) for kind, text in FILES.items()
                }
            self.file = gr.File(label="Download", visible=False)
            with gr.Row(equal_height=True):
                self.link = gr.Textbox(
                    label="Link to this view", interactive=False, elem_id="view-link", scale=5
                )
                self.copy = gr.Button("Copy link", size="sm", min_width=120, scale=1)
            self.snippets = gr.HTML(elem_id="snippets", js_on_load=COPIES)

    def opened(
        self,
        load: Callable[..., Any],
        filled: list[Any],
        menus: Callable[[str], list[Any]],
        *,
        opens: bool,
    ) -> None:
        """Restore the view of a link when the page is opened with one.

        Args:
            load: the event of the page's opening.
            filled: gallery and stories, which `menus` fills too.
            menus: family -> updates of `filled` and of `REFILLED`.
            opens: without a link, compute what the page begins with.
        """
        computes = ASK.replace("OPENS", json.dumps(opens))
        load(None, None, [self.asked, self.here, self.restored], js=computes, **QUIET)
        outputs = [self.inputs[name] for name in self._menus()]
        restore = partial(self.restore, menus)
        self.asked.change(
            restore, self.asked, [self.told, *filled, *outputs], **LANE, **QUIET
        ).success(  # the picture comes last: its change computes, with what the menus then hold
            self.picture, self.asked, [self.inputs["image"], self.restored], **QUIET
        )
        touched = [self.inputs[name].input for name in (*self._menus(), "image")]
        gr.on(touched, None, None, self.told, js="() => ''", **QUIET)

    def listen(self, export: Callable[..., Any], more: set[Any]) -> None:
        """Give files, link and code.

        Args:
            export: (kind, the values of the controls and of `more`) -> the file.
            more: further inputs.
        """
        self.copy.click(None, self.link, None, js=COPY, **PRIVATE)
        self._follow(self.accordion.expand)
        for kind, button in self.buttons.items():
            given = {*more, *self.inputs.values()}
            button.click(partial(export, kind), given, self.file, **LOOK, **PRIVATE)

    def after(self, event: Any) -> None:
        """Let link and code follow an event after which another view may be shown."""
        self._follow(event.then)

    def _follow(self, event: Callable[..., Any]) -> None:
        given = {self.here, *self.inputs.values()}
        event(self.follow, given, [self.query, self.link, self.snippets], **LOOK, **QUIET).success(
            None, self.query, None, js=FOLLOW, **PRIVATE
        )

    def _menus(self) -> list[str]:
        return [name for name in self.inputs if name != "image"]

    def restore(self, menus: Callable[[str], list[Any]], query: str) -> list[Any]:
        """What could not be had, gallery and stories, and all controls but the picture."""
        values, problems = self.links.read(query)
        made = menus(values["family"])
        filled, refilled = made[: -len(REFILLED)], made[-len(REFILLED) :]
        updates = {name: {**update} for name, update in zip(REFILLED, refilled, strict=True)}
        slider = epsilon_slider(values["baseline"], values["attack"], values["epsilon"])
        updates["epsilon"] = gr.update(**slider)
        for name in self._menus():
            updates.setdefault(name, gr.update())["value"] = values[name]
        said = "".join(message(text, wrong=True) for text in problems)
        return [said, *filled, *(updates[name] for name in self._menus())]

    def picture(self, query: str) -> list[Any]:
        """The picture of a link, and the sign that all of it is there."""
        return [self.links.read(query)[0]["image"], query]

    def follow(self, data: dict[Any, Any]) -> list[str]:
        """The query of what is shown, its whole address, and the code for it."""
        values = self.answers.values(data)
        query = self.links.query(values)
        base = self._base(data[self.here])
        return [query, f"{base}{UI_PATH}/?{query}", self.code(values, base)]

    def _base(self, here: object) -> str:
        """Where the visitor's browser says that the app answers."""
        parts = urlsplit(str(here)[:300])
        if parts.scheme in ("http", "https") and split_host(parts.netloc)[0]:
            return f"{parts.scheme}://{parts.netloc}"
        return f"http://localhost:{self.work.analyzer.settings.port}"

    def code(self, values: Values, base: str) -> str:
        """The snippets as HTML, nothing where there is no picture or no such view."""
        if not values["image"]:
            return ""
        try:
            request = self.work.shown_request(values)
        except InvalidInput:  # the page says so
            return ""
        classes = self.work.analyzer.manifest(values["baseline"]).classes
        file = snippets.file_name(Path(values["image"]).name)
        told = snippets.Told(request, file, classes, base)
        parts = "".join(_snippet(name, make(told)) for name, make in snippets.SNIPPETS.items())
        return (
            f"<h3>Copy as code</h3><p class=nls-explain>It computes the numbers above, where the "
            f"picture's file <code>{escape(file)}</code> lies.</p>{parts}"
        )


def _snippet(name: str, text: str) -> str:
    return (
        f"<details><summary>{escape(name)}</summary><button type=button>Copy</button>"
        f"<pre tabindex=0><code>{escape(text)}</code></pre></details>"
    )
