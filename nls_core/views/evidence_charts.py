"""Reports -> Plotly figures, complete by themselves: pages show them, documents hold them.

Colours are the losses', solid lines are zero padding, dashed ones partial. Bands and bars are one
standard deviation over seeds, where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import plotly.graph_objects as go

from nls_core.evidence import report, robustness
from nls_core.evidence.cells import Cells, gap, label, ordered
from nls_core.evidence.stored_runs import Runs
from nls_core.evidence.verdicts import Evidence
from nls_core.views import analysis_charts
from nls_core.views.palette import DASHES, LOSS_COLOURS, OTHER_COLOUR, TEXT

# at the foot of the whole picture: the plot leaves it room, however many rows it takes; small
# enough for two columns on a phone
LEGEND = {
    "orientation": "h",
    "xref": "container",
    "x": 0,
    "yref": "container",
    "y": 0,
    "yanchor": "bottom",
    "tracegroupgap": 0,
    "font": {"size": 10},
}
MARGIN = {"l": 60, "r": 16, "t": 44, "b": 50}
SHARES = {"tickformat": ".0%"}
COLOURS = LOSS_COLOURS | {report.TEMPERED: "#94a3b8"}  # a paler ce


def colour(cell: str) -> str:
    """The colour of a cell's loss."""
    return COLOURS.get(cell.rsplit("-", 1)[0], OTHER_COLOUR)


def dash(cell: str) -> str:
    """Solid for zero padding, dashed for partial."""
    return DASHES[cell.rsplit("-", 1)[1]]


def dot(cell: str) -> dict[str, Any]:
    """A cell's marker: full for zero padding, open for partial."""
    symbol = "circle" if cell.endswith("zero") else "circle-open"
    line = {"width": 2, "color": colour(cell)}
    return {"color": colour(cell), "size": 12, "symbol": symbol, "line": line}


def finish(figure: go.Figure, title: str, height: int = 380, **layout: Any) -> go.Figure:
    """Give a figure its title, and the style of all others."""
    analysis_charts.style(figure, height=height, title={"text": title, "font": {"size": 14}})
    figure.update_layout(legend=LEGEND, margin=MARGIN, **layout)
    return figure


def by_cell(cells: Cells, metric: str, title: str, *, share: bool = True) -> go.Figure:
    """A metric of every cell as a dot with its standard deviation, the best at the top or not.

    The hover tells the difference to ce-zero with its 95 % interval.
    """
    figure = go.Figure()
    names = [c for c in ordered(cells) if metric in cells[c]["metrics"]]
    for cell in reversed(names):
        entry = cells[cell]["metrics"][metric]
        figure.add_scatter(
            x=[entry["mean"]],
            y=[label(cell)],
            error_x={"array": [entry["sd"] or 0.0], "thickness": 1.5, "width": 4},
            mode="markers",
            marker=dot(cell),
            customdata=[gap(entry, scale=100.0 if share else 1.0)],
            hovertemplate="%{x:.4f}, against ce-zero: %{customdata}<extra>%{y}</extra>",
            showlegend=False,
        )
    ticks = {"tickformat": ".1%"} if share else {}
    figure.update_xaxes(title="mean ± sd over seeds", **ticks)
    figure.update_yaxes(automargin=True)
    key = {"text": "● zero, ○ partial padding", "font": {"size": 11}}
    return finish(figure, title, 90 + 28 * len(names), title_subtitle=key)


def over_epsilon(cells: Cells, attack: str, shown: Sequence[str]) -> go.Figure:
    """Accuracy under an attack over ε, a line per cell."""
    lines = {c: cells[c]["robust"][attack] for c in shown if attack in cells[c].get("robust", {})}
    return _lines_over_epsilon(lines, f"{attack}: accuracy over ε", "accuracy", cells)


def error_over_epsilon(cells: Cells, shown: Sequence[str]) -> go.Figure:
    """ECE on PGD images over ε, a line per cell."""
    lines = {c: cells[c]["attacked"]["ece"] for c in shown if "attacked" in cells[c]}
    return _lines_over_epsilon(lines, "ECE-15 on PGD images over ε", "ECE-15", cells)


def _lines_over_epsilon(
    lines: Mapping[str, Mapping[str, Any]], title: str, axis: str, cells: Cells
) -> go.Figure:
    figure = go.Figure()
    for cell, values in lines.items():
        _line(
            figure, cell, [0.0, *map(float, values)], [_clean(cells[cell], axis), *values.values()]
        )
    figure.update_xaxes(title="ε in 1/255", rangemode="tozero")
    figure.update_yaxes(title=axis, range=[0, 1.02], **SHARES)
    return finish(figure, title)


def _clean(cell: Mapping[str, Any], axis: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = cell["metrics"]["accuracy" if axis == "accuracy" else "ece"]
    return entry


def _line(
    figure: go.Figure, cell: str, x: Sequence[float], entries: Sequence[Mapping[str, Any]]
) -> None:
    """A cell's means with a band of one standard deviation."""
    means = [entry["mean"] for entry in entries]
    spread = [entry["sd"] or 0.0 for entry in entries]
    if any(spread):
        ends = [m + s for m, s in zip(means, spread, strict=True)]
        ends += [m - s for m, s in zip(means, spread, strict=True)][::-1]
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=ends,
            fill="toself",
            fillcolor=colour(cell),
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            legendgroup=cell,
            showlegend=False,
        )
    figure.add_scatter(
        x=list(x),
        y=means,
        name=label(cell),
        legendgroup=cell,
        mode="lines+markers" if len(means) < 12 else "lines",
        line={"color": colour(cell), "dash": dash(cell), "width": 2.5},
        hovertemplate="%{x:g}: %{y:.4f}<extra>%{fullData.name}</extra>",
    )


def attacks_of(cells: Cells, cell: str) -> go.Figure:
    """Accuracy of one cell over ε under each attack: white-box, black-box, transfer, worst."""
    figure = go.Figure()
    palette = ("#2563eb", "#dc2626", "#7c3aed", "#d97706", "#0d9488", "#111827")
    for hue, (attack, values) in zip(palette, cells[cell].get("robust", {}).items(), strict=False):
        figure.add_scatter(
            x=[float(key) for key in values],
            y=[entry["mean"] for entry in values.values()],
            name=attack,
            mode="lines+markers",
            line={"color": TEXT if attack == robustness.WORST else hue, "width": 2.5},
            hovertemplate="ε = %{x:g}/255: %{y:.1%}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="ε in 1/255", rangemode="tozero")
    figure.update_yaxes(title="accuracy", range=[0, 1.02], **SHARES)
    return finish(figure, f"{label(cell)}: every attack")


def transfer(cells: Cells, epsilon: str) -> go.Figure:
    """Craft-on × test-on accuracy at one ε (a key of reports); the diagonal is white-box PGD."""
    targets = [c for c in ordered(cells) if "transfer" in cells[c]]
    sources = [
        *targets,
        *(["surrogate"] if any("surrogate" in cells[c]["transfer"] for c in targets) else []),
    ]
    rows = []
    for source in sources:
        row = []
        for target in targets:
            own = source == target
            entry = cells[target]["robust"]["pgd"] if own else cells[target]["transfer"].get(source)
            row.append(entry[epsilon]["mean"] if entry else None)
        rows.append(row)
    figure = go.Figure()
    figure.add_heatmap(
        x=targets,
        y=sources,
        z=rows,
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        texttemplate="%{text}",  # without %, so that nine columns fit on a phone
        textfont={"size": 10},
        text=[["" if z is None else f"{100 * z:.0f}" for z in row] for row in rows],
        colorbar=SHARES | {"orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 10},
        hovertemplate="made on %{y}, shown to %{x}: %{z:.1%}<extra></extra>",
    )
    figure.update_xaxes(title="shown to", automargin=True)
    figure.update_yaxes(title="made on", automargin=True, autorange="reversed")
    return finish(
        figure, f"accuracy in % on PGD images at ε = {epsilon}/255", 160 + 42 * len(sources)
    )


def curves(runs: Runs, key: str, shown: Sequence[str]) -> go.Figure:
    """A column of the training logs over epochs, a line per cell, a band over its seeds."""
    figure = go.Figure()
    for cell in shown:
        logs = [[row[key] for row in run.found["curve"]] for run in runs[cell].values()]
        entries = [
            {"mean": fmean(at), "sd": stdev(at) if len(at) > 1 else None}
            for at in zip(*logs, strict=False)
        ]
        _line(figure, cell, [float(i) for i in range(1, len(entries) + 1)], entries)
    figure.update_xaxes(title="epoch")
    what = key.replace("val_", "validation ").replace("ece", "ECE-15").replace("nll", "NLL")
    figure.update_yaxes(title=what)
    return finish(figure, f"{what} while training")


def under_shift(runs: Runs, corruption: str, key: str, shown: Sequence[str]) -> go.Figure:
    """Accuracy or ECE over the severity of a corruption, a line per cell; 0 is the clean split."""
    figure = go.Figure()
    for cell in shown:
        kept = [run.found for run in runs[cell].values() if "shift" in run.found]
        if not kept:
            continue
        rows = zip(
            *([f["metrics"][key], *(r[key] for r in f["shift"][corruption])] for f in kept),
            strict=True,
        )
        entries = [{"mean": fmean(at), "sd": stdev(at) if len(at) > 1 else None} for at in rows]
        _line(figure, cell, [float(i) for i in range(len(entries))], entries)
    figure.update_xaxes(title="severity (0: clean)", dtick=1)
    figure.update_yaxes(title="ECE-15" if key == "ece" else key, rangemode="tozero", **SHARES)
    return finish(figure, f"{'ECE-15' if key == 'ece' else 'Accuracy'} under {corruption}")


def search(record: Mapping[str, Any]) -> go.Figure:
    """Validation accuracy over the learning rates of the search, a line per loss."""
    figure = go.Figure()
    for loss, chosen in record.get("chosen", {}).items():
        rows = sorted((r["lr"], r["val_accuracy"]) for r in record["tried"] if r["loss"] == loss)
        figure.add_scatter(
            x=[rate for rate, _ in rows],
            y=[value for _, value in rows],
            name=loss,
            mode="lines+markers",
            line={"color": colour(f"{loss}-zero"), "width": 2.5},
            marker={"size": [14 if rate == chosen else 7 for rate, _ in rows]},
            hovertemplate="learning rate %{x:g}: %{y:.2%}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="learning rate", type="log")
    figure.update_yaxes(title="validation accuracy", tickformat=".1%")
    return finish(figure, "Learning-rate search (large: chosen)")


def smoothing(record: Mapping[str, Any]) -> go.Figure:
    """Mean confidence over the smoothing s, for ls and for nls at matched step size."""
    figure = go.Figure()
    for loss in ("ls", "nls"):
        rows = record.get("ablations", {}).get(f"smoothing of {loss}", [])
        if not rows:
            continue
        figure.add_scatter(
            x=[row["smoothing"] for row in rows],
            y=[row["val_confidence"] for row in rows],
            name=loss,
            mode="lines+markers",
            line={"color": colour(f"{loss}-zero"), "width": 2.5},
            customdata=[[row["val_accuracy"], row["val_ece"]] for row in rows],
            hovertemplate="s = %{x:g}: confidence %{y:.2%}, accuracy %{customdata[0]:.2%}, "
            "ECE-15 %{customdata[1]:.2%}<extra>%{fullData.name}</extra>",
        )
    if not figure.data:
        figure.add_annotation(text="not measured yet", showarrow=False)
    figure.update_xaxes(title="smoothing s")
    figure.update_yaxes(title="mean confidence (validation)", **SHARES)
    return finish(figure, "Smoothing s (nls: matched step)")


# finding -> its chart
OF_FINDING: dict[str, Callable[[Evidence, Runs], go.Figure]] = {
    "calibration": lambda e, runs: by_cell(e.cells, "ece", "ECE-15"),
    "robustness": lambda e, runs: over_epsilon(e.cells, robustness.WORST, ordered(e.cells)),
    "generalization": lambda e, runs: by_cell(e.cells, "accuracy", "accuracy"),
    "convergence": lambda e, runs: curves(runs, "val_accuracy", _trained(runs)),
    "maps": lambda e, runs: by_cell(
        e.cells, "map_drift_cosine", "cosine of clean and attacked map", share=False
    ),
    "smoothing": lambda e, runs: smoothing(e.ablations),
    "own-loss": lambda e, runs: tradeoff(e.cells),
}


def _trained(runs: Runs) -> list[str]:
    return [c for c in ordered(runs) if not c.startswith(report.TEMPERED)]  # type: ignore[arg-type]


def tradeoff(cells: Cells) -> go.Figure:
    """Accuracy against ECE, a point per cell with standard deviations."""
    figure = go.Figure()
    for cell in ordered(cells):
        x, y = (cells[cell]["metrics"][name] for name in ("ece", "accuracy"))
        figure.add_scatter(
            x=[x["mean"]],
            y=[y["mean"]],
            error_x={"array": [x["sd"] or 0.0], "thickness": 1},
            error_y={"array": [y["sd"] or 0.0], "thickness": 1},
            name=label(cell),
            mode="markers",
            marker=dot(cell),
            hovertemplate="ECE-15 %{x:.2%}, accuracy %{y:.2%}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="ECE-15", tickformat=".1%", rangemode="tozero")
    figure.update_yaxes(title="accuracy", tickformat=".1%")
    return finish(figure, "Accuracy over ECE (best: top left)", 440)
