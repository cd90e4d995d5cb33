"""Runs, searches and ablations -> Plotly figures: training curves, shift, learning rates, s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nls_core.evidence.cells import label, ordered
from nls_core.evidence.over_epochs import Course
from nls_core.evidence.stored_runs import Runs
from nls_core.views.cell_style import SHARES, colour, finish, line


def curves(runs: Runs, key: str, shown: Sequence[str]) -> go.Figure:
    """A column of the training logs over epochs, a line per cell, a band over its seeds."""
    figure = go.Figure()
    for cell in shown:
        kept = [run.found["curve"] for run in runs[cell].values() if "curve" in run.found]
        logs = [[row[key] for row in curve if key in row] for curve in kept]
        entries = [
            {"mean": fmean(at), "sd": stdev(at) if len(at) > 1 else None}
            for at in zip(*logs, strict=False)
        ]
        line(figure, cell, [float(i) for i in range(1, len(entries) + 1)], entries)
    figure.update_xaxes(title="epoch")
    what = key.replace("val_", "validation ").replace("ece", "ECE-15").replace("nll", "NLL")
    figure.update_yaxes(title=what)
    return finish(figure, f"{what} while training")


def over_epochs(courses: Sequence[Course]) -> go.Figure:
    """ECE after each epoch, a plot per training, a line per loss; a star at the lowest NLL."""
    titles = list(dict.fromkeys(course.title for course in courses))
    gap = 0.3 / len(titles)
    figure = make_subplots(len(titles), 1, subplot_titles=titles, vertical_spacing=gap)
    for course in courses:
        place: dict[str, Any] = {"row": titles.index(course.title) + 1, "col": 1}
        hue, best = colour(f"{course.loss}-zero"), course.best
        figure.add_scatter(
            x=[row["epoch"] for row in course.rows],
            y=[row["val_ece"] for row in course.rows],
            name=course.loss,
            legendgroup=course.loss,
            showlegend=place["row"] == 1,
            line={"color": hue, "width": 2.5},
            customdata=[[row["val_accuracy"], row["val_nll"]] for row in course.rows],
            hovertemplate="epoch %{x}: ECE-15 %{y:.2%}, accuracy %{customdata[0]:.1%}, "
            "NLL %{customdata[1]:.3f}<extra>%{fullData.name}</extra>",
            **place,
        )
        figure.add_scatter(
            x=[best["epoch"]],
            y=[best["val_ece"]],
            mode="markers",
            marker={"color": hue, "symbol": "star", "size": 14},
            hovertemplate="lowest NLL: epoch %{x}<extra></extra>",
            showlegend=False,
            **place,
        )
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title="epoch", row=len(titles))
    figure.update_yaxes(title="ECE-15", rangemode="tozero", **SHARES)
    figure.update_annotations(font_size=12)
    what = "ECE-15 over the epochs (star: lowest NLL)"
    return finish(figure, what, 110 + 190 * len(titles), showlegend=True)


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
        line(figure, cell, [float(i) for i in range(len(entries))], entries)
    figure.update_xaxes(title="severity (0: clean)", dtick=1)
    figure.update_yaxes(title="ECE-15" if key == "ece" else key, rangemode="tozero", **SHARES)
    return finish(figure, f"{'ECE-15' if key == 'ece' else 'Accuracy'} under {corruption}")


def aberrations(record: Mapping[str, Any], name: str, group: str | None = None) -> go.Figure:
    """A metric on clean test labels over the data that were learnt from, a line per cell.

    Bars are 95 % intervals. `record` is aberrations.json; `group` one of its groups, None being
    all conditions.
    """
    figure = go.Figure()
    conditions = record.get("conditions", {})
    shown = record["groups"][group] if group else list(conditions)
    for cell in ordered(
        {c: each["cells"][c] for each in conditions.values() for c in each["cells"]}
    ):
        at = [n for n in shown if cell in conditions[n]["cells"]]
        found = [conditions[n]["cells"][cell]["metrics"][name] for n in at]
        means = [entry["mean"] for entry in found]
        figure.add_scatter(
            x=at,
            y=means,
            error_y={
                "array": [(e["high"] or m) - m for e, m in zip(found, means, strict=True)],
                "thickness": 1,
            },
            name=label(cell),
            mode="lines+markers" if group else "markers",
            line={"color": colour(cell), "width": 2.5},
            hovertemplate="%{x}: %{y:.4f}<extra>%{fullData.name}</extra>",
        )
    if not figure.data:
        figure.add_annotation(text="not measured yet", showarrow=False)
    axis = {"nll": "NLL", "ece": "ECE-15", "aurc": "AURC"}.get(name, name)
    figure.update_xaxes(title="trained on", type="category", automargin=True)
    figure.update_yaxes(title=f"{axis} on clean labels", **({} if name == "nll" else SHARES))
    return finish(figure, f"{axis} after training on {group or 'aberrant data'}")


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
