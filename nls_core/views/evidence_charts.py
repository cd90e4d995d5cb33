"""The figures of a report -> Plotly figures, complete by themselves, for pages and documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nls_core.evidence import baseline_claims, robustness
from nls_core.evidence.cells import BASE, TEMPERED, Cells, gap, label, ordered
from nls_core.evidence.stored_runs import Runs
from nls_core.evidence.verdicts import Evidence
from nls_core.views import mask_charts, palette, run_charts
from nls_core.views.cell_style import SHARES, dot, finish, line


def by_cell(cells: Cells, metric: str, title: str, *, share: bool = True) -> go.Figure:
    """A metric of every cell as a dot with its standard deviation, the best at the top or not.

    The hover tells the difference to the baseline with its 95 % interval.
    """
    figure = go.Figure()
    names = [c for c in ordered(cells) if metric in cells[c]["metrics"]]
    for cell in reversed(names):
        entry = cells[cell]["metrics"][metric]
        figure.add_scatter(
            x=[entry["mean"]],
            y=[label(cell)],
            # of one run there is no bar: one of length 0 is a stroke
            error_x={"array": [entry["sd"]], "thickness": 1.5, "width": 4} if entry["sd"] else None,
            mode="markers",
            marker=dot(cell),
            customdata=[gap(entry, scale=100.0 if share else 1.0)],
            hovertemplate=f"%{{x:.4f}}, against {BASE}: %{{customdata}}<extra>%{{y}}</extra>",
            showlegend=False,
        )
    ticks = {"tickformat": ".1%"} if share else {}
    figure.update_xaxes(title="mean ± sd over seeds", **ticks)
    figure.update_yaxes(automargin=True)
    key = {"text": "● zero, ○ partial padding", "font": {"size": 11}}
    return finish(figure, title, 90 + 28 * len(names), title_subtitle=key)


def over_epsilon(cells: Cells, attack: str, shown: Sequence[str]) -> go.Figure:
    """Accuracy under an attack over ε, a line per cell."""
    lines = {
        c: cells[c]["robust"][attack] for c in shown if attack in cells.get(c, {}).get("robust", {})
    }
    return _lines_over_epsilon(lines, f"{attack}: accuracy over ε", "accuracy", cells)


def error_over_epsilon(cells: Cells, shown: Sequence[str]) -> go.Figure:
    """ECE on PGD images over ε, a line per cell."""
    lines = {c: cells[c]["attacked"]["ece"] for c in shown if "attacked" in cells.get(c, {})}
    return _lines_over_epsilon(lines, "ECE-15 on PGD images over ε", "ECE-15", cells)


def _lines_over_epsilon(
    lines: Mapping[str, Mapping[str, Any]], title: str, axis: str, cells: Cells
) -> go.Figure:
    figure = go.Figure()
    for cell, values in lines.items():
        line(
            figure, cell, [0.0, *map(float, values)], [_clean(cells[cell], axis), *values.values()]
        )
    figure.update_xaxes(title="ε in 1/255", rangemode="tozero")
    figure.update_yaxes(title=axis, range=[0, 1.02], **SHARES)
    return finish(figure, title)


def _clean(cell: Mapping[str, Any], axis: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = cell["metrics"]["accuracy" if axis == "accuracy" else "ece"]
    return entry


def attacks_of(cells: Cells, cell: str) -> go.Figure:
    """Accuracy of one cell over ε under each attack: white-box, black-box, transfer, worst."""
    figure = go.Figure()
    measured = cells[cell].get("robust", {})
    hues = palette.series(tuple(measured)) | {robustness.WORST: palette.TEXT}
    for attack, values in measured.items():
        figure.add_scatter(
            x=[float(key) for key in values],
            y=[entry["mean"] for entry in values.values()],
            name=attack,
            mode="lines+markers",
            line={"color": hues[attack], "width": 2.5},
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


def _at_equal_decay(record: Mapping[str, Any]) -> go.Figure:
    """Accuracy under the worst attack of what is compared at equal rate times weight decay."""
    cells = baseline_claims.attacked(record) if record else {}
    return over_epsilon(cells, robustness.WORST, ordered(cells))


def _trained(runs: Runs) -> list[str]:
    return [c for c in ordered(runs) if not c.startswith(TEMPERED)]  # type: ignore[arg-type]


# finding -> its chart
OF_FINDING: dict[str, Callable[[Evidence, Runs], go.Figure]] = {
    "calibration": lambda e, runs: by_cell(e.cells, "ece", "ECE-15"),
    "robustness": lambda e, runs: over_epsilon(e.cells, robustness.WORST, ordered(e.cells)),
    "generalization": lambda e, runs: by_cell(e.cells, "accuracy", "accuracy"),
    "convergence": lambda e, runs: run_charts.curves(runs, "val_accuracy", _trained(runs)),
    "maps": lambda e, runs: by_cell(
        e.cells, "map_drift_correlation", "correlation of clean and attacked map", share=False
    ),
    "objects": lambda e, runs: mask_charts.chart(e.cells, "clean", "gradcam", "Energy inside"),
    "smoothing": lambda e, runs: run_charts.smoothing(e.ablations),
    "own-loss": lambda e, runs: tradeoff(e.cells),
    "fair-baselines": lambda e, runs: by_cell(e.baselines.get("cells", {}), "ece", "ECE-15"),
    "decay": lambda e, runs: _at_equal_decay(e.baselines),
    "aberrations": lambda e, runs: run_charts.aberrations(e.aberrations, "accuracy"),
}
