"""A batch as HTML: its table, what the labels say of each model, the report; and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timezone
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nls_core import __version__
from nls_core.analysis.batch import Answer, Batch
from nls_core.metrics import calibration
from nls_core.metrics.fair_calibration import ece_floor
from nls_core.types import Manifest
from nls_core.views import analysis_charts, html, names, palette, raster, svg
from nls_core.views.sentences import percent

SPREADSHEET = ("=", "+", "-", "@", "\t", "\r")  # what begins a formula there
COLUMNS = (
    "picture",
    "truth",
    "model",
    "label",
    "confidence",
    "calibrated_confidence",
    "flip_point_255",
    "unfamiliar",
    "not_read",
)
FEW = 100  # labelled pictures, below which an ECE says next to nothing
NEVER = 1e9  # sorts behind every strength: no flip point was found


def table(batch: Batch) -> str:
    """A row for each picture; static/batch.js sorts it by the buttons in its head."""
    told = ("says", "sure", *(("flip point",) if batch.request.flip_point else ()), "unfamiliar")
    first = ("picture", *(("truth",) if _labelled(batch).size else ()))
    above = "".join(_head(name, name, i + 1, ' rowspan="2"') for i, name in enumerate(first))
    below, column = "", len(first) + 1  # behind the small picture
    for manifest in batch.manifests:
        name = escape(names.beside_id(manifest))
        above += f'<th scope="colgroup" colspan="{len(told)}">{name}</th>'
        for what in told:
            below += _head(what, f"{name}: {what}", column)
            column += 1
    body = "".join(f"<tr>{''.join(_cells(batch, i))}</tr>" for i in range(len(batch.rows)))
    return (
        '<div class="nls-table nls-batch" tabindex="0"><table><thead><tr><td rowspan="2"></td>'
        f"{above}</tr><tr>{below}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _head(text: str, name: str, column: int, more: str = "") -> str:
    """The head of a column that can be sorted; `name` also tells whose it is."""
    return (
        f'<th scope="col" data-column="{column}"{more}>'
        f'<button type="button" aria-label="{name}">{text}</button></th>'
    )


def _cells(batch: Batch, index: int) -> Iterator[str]:
    row, classes = batch.rows[index], batch.manifests[0].classes
    yield f'<td><img src="{raster.jpeg_data_uri(row.thumbnail)}" alt=""></td>'
    yield f"<td>{escape(row.name)}</td>"
    if _labelled(batch).size:
        yield f"<td>{'' if row.truth is None else escape(classes[row.truth])}</td>"
    for answer in row.answers:
        label = classes[answer.prediction.index]
        wrong = row.truth is not None and row.truth != answer.prediction.index
        yield f"<td{' class=nls-wrong' if wrong else ''}>{escape(label)}</td>"
        sure = answer.prediction.confidence
        yield f'<td data-v="{sure:.6f}">{percent(sure)}</td>'
        if batch.request.flip_point:
            yield f'<td data-v="{_flip(answer, NEVER)}">{escape(_flip_text(answer))}</td>'
        strange = answer.unfamiliar
        yield f"<td>{'not measured' if strange is None else 'perhaps' if strange else 'no'}</td>"


def _flip(answer: Answer, never: float) -> float:
    found = answer.flip.epsilon if answer.flip else None
    return never if found is None else round(found * 255, 4)


def _flip_text(answer: Answer) -> str:
    if answer.flip is None:
        return ""
    if answer.flip.epsilon is None:
        return f"over {answer.flip.most * 255:g}/255"
    return f"{answer.flip.epsilon * 255:.3g}/255"


def refused(batch: Batch) -> str:
    """The files that could not be read, and why; nothing where there are none."""
    if not batch.refused:
        return ""
    lines = "".join(f"<li>{escape(n)}: {escape(why)}</li>" for n, why in batch.refused)
    return (
        f"<details open><summary>Not read: {len(batch.refused)}</summary><ul>{lines}</ul></details>"
    )


def _labelled(batch: Batch) -> NDArray[np.int64]:
    return np.array([i for i, row in enumerate(batch.rows) if row.truth is not None], np.int64)


def _scored(batch: Batch, model: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (N, K) and labels (N,) of the labelled pictures."""
    rows = [batch.rows[i] for i in _labelled(batch)]
    probabilities = np.stack([row.answers[model].prediction.probabilities for row in rows])
    return probabilities.astype(np.float64), np.array([row.truth for row in rows], np.int64)


def summary(batch: Batch) -> str:
    """What the labels say of each model: accuracy and calibration, with 95 % intervals."""
    if not _labelled(batch).size:
        return ""
    rows = [["model", "right", "accuracy (95 % interval)", "mean confidence", "ECE-15", "chance"]]
    for index, manifest in enumerate(batch.manifests):
        rows.append(_summary_row(manifest, *_scored(batch, index)))
    count = _labelled(batch).size
    few = (
        f" An ECE of {count} pictures says little: as much as <i>chance</i> is what a model "
        "would get that is right as often as it says."
        if count < FEW
        else ""
    )
    return (
        f'<h2>What the labels say</h2><p class="nls-explain">Of {count} labelled pictures; '
        f"Wilson intervals; 15 equal-width, right-closed bins.{few}</p>{html.table(rows)}"
    )


def _summary_row(
    manifest: Manifest, probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[str]:
    all_in_one = calibration.reliability(probabilities, labels, bins=1)
    accuracy, low, high = (
        float(each[0]) for each in (all_in_one.accuracy, all_in_one.low, all_in_one.high)
    )
    return [
        names.beside_id(manifest),
        f"{round(accuracy * len(labels))} of {len(labels)}",
        f"{100 * accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)",
        percent(float(all_in_one.confidence[0])),
        percent(calibration.ece(probabilities, labels)),
        percent(ece_floor(probabilities, labels)),
    ]


def diagrams(batch: Batch) -> str:
    """A reliability diagram of each model on the labelled pictures, as SVG."""
    if not _labelled(batch).size:
        return ""
    parts = []
    for index, manifest in enumerate(batch.manifests):
        bins = calibration.reliability(*_scored(batch, index))
        figure = analysis_charts.reliability_bars(
            bins, f"{manifest.id} on these pictures", palette.colour_of(manifest)
        )
        parts.append(f'<div class="nls-plot">{svg.draw(figure, width=520)}</div>')
    return f'<div class="nls-plots">{"".join(parts)}</div>'


def results(batch: Batch) -> str:
    """All of it: what the labels say, the table, what was not read."""
    if not batch.rows:
        return refused(batch)
    return f"{summary(batch)}{diagrams(batch)}{table(batch)}{refused(batch)}"


def report(batch: Batch, *, css: str, script: str) -> str:
    """A self-contained HTML page; `script` sorts its table."""
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    weights = "; ".join(f"{m.id} {m.sha256[:12]}" for m in batch.manifests)
    models = ",".join(batch.request.models)
    flips = "" if batch.request.flip_point else " --no-flip-point"
    body = (
        f"<header><h1>NLS Lab batch</h1><p>{batch.done} of {batch.total} pictures, "
        f"{made}, NLS Lab {__version__}</p></header><main>{results(batch)}"
        f"<dl><dt>weights</dt><dd>{escape(weights)}</dd><dt>command</dt><dd><code>nls batch FOLDER "
        f"--models {escape(models)}{flips}</code></dd></dl></main>"
        f"<script>(element => {{{script}}})(document);</script>"
    )
    return html.document(f"NLS Lab batch of {batch.total}", css, body)


def text(batch: Batch, kind: str, static_dir: Path) -> str:
    """A file of a kind: 'csv', or else the HTML report, with style and script of a folder."""
    if kind == "csv":
        return numbers(batch)
    css, script = (
        (static_dir / name).read_text(encoding="utf-8") for name in ("style.css", "batch.js")
    )
    return report(batch, css=css, script=script)


def numbers(batch: Batch) -> str:
    """CSV: a line for each picture and model, and those that were not read."""
    lines = io.StringIO()
    out = csv.writer(lines, lineterminator="\n")
    out.writerow(COLUMNS)
    classes = batch.manifests[0].classes
    for row in batch.rows:
        truth = "" if row.truth is None else classes[row.truth]
        for manifest, answer in zip(batch.manifests, row.answers, strict=True):
            said = answer.prediction
            flip = answer.flip.epsilon if answer.flip else None
            strange = "" if answer.unfamiliar is None else str(answer.unfamiliar).lower()
            sure = [said.confidence, said.calibrated_confidence]
            found = ["" if flip is None else round(flip * 255, 9), strange, ""]
            out.writerow([_cell(row.name), truth, manifest.id, classes[said.index], *sure, *found])
    for name, why in batch.refused:
        out.writerow([_cell(name), *[""] * 7, why])
    return lines.getvalue()


def _cell(name: str) -> str:
    """A stranger's file name where a spreadsheet takes it for no formula."""
    return f"'{name}" if name.startswith(SPREADSHEET) else name
