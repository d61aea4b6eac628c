"""Pictures of a run's figures, made of its results alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

_STYLE: Final = {
    "svg.hashsalt": "bench",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
_COLUMNS: Final = 3
_OURS, _THEIRS, _MORE = "#1f6f8b", "#b0b7bd", "#d1495b"

Results = Mapping[str, Any]
Series = Mapping[str, Mapping[str, Any]]


def draw(results: Results, folder: Path) -> Iterator[Path]:
    """Each picture that there are figures for, as an SVG in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = results["sections"]
    with mpl.rc_context(_STYLE):
        for name, section, make in (
            ("added-cost", "warm", _added_cost),
            ("cost-against-size", "growth", _cost_against_size),
            ("hit-ratio", "traffic", _hit_ratio),
        ):
            if section in sections:
                figure = make(sections[section]["series"])
                figure.suptitle(_subtitle(results), fontsize=7, color="#666666", x=0.99, ha="right")
                path = folder / f"{name}.svg"
                # Without a date, so that the same figures make the same file.
                figure.savefig(path, metadata={"Date": None})
                plt.close(figure)
                yield path


def _subtitle(results: Results) -> str:
    machine = results["machine"]
    return f"{machine['python']}, {machine['cores']} cores, {results['effort']} run"


def _added_cost(series: Series) -> Any:
    added = series["added a request"]
    figure, axes = plt.subplots(figsize=(7.2, 0.34 * len(added) + 0.9))
    names = list(added)[::-1]
    medians = [added[name]["median"] for name in names]
    colours = [_THEIRS if _is_peer(name) else _OURS for name in names]
    axes.barh(names, medians, color=colours, xerr=_spread(added[name] for name in names), error_kw={"lw": 0.8})
    axes.set_xscale("log")
    axes.set_xlabel("microseconds added to a request whose token is known (logarithmic)")
    for place, median in enumerate(medians):
        axes.annotate(f" {median:.3g}", (median, place), xytext=(3, 4), textcoords="offset points", fontsize=7)
    return figure


def _is_peer(name: str) -> bool:
    return any(peer in name for peer in ("HTTPBearer", "Authlib"))


def _cost_against_size(series: Series) -> Any:
    rows = math.ceil(len(series) / _COLUMNS)
    figure, panels = plt.subplots(rows, _COLUMNS, figsize=(2.4 * _COLUMNS, 2.2 * rows), squeeze=False)
    for axes in panels.flat[len(series) :]:
        axes.set_visible(False)
    for axes, (name, sizes) in zip(panels.flat, series.items(), strict=False):
        xs = list(sizes)
        medians = [sizes[x]["median"] for x in xs]
        axes.errorbar(xs, medians, yerr=_spread(sizes.values()), color=_OURS, marker="o", ms=3, lw=1.2, elinewidth=0.7)
        axes.set_title(name, fontsize=8)
        axes.set_ylabel(next(iter(sizes.values()))["unit"])
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", rotation=45, labelsize=7)
    return figure


def _hit_ratio(series: Series) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
    ratios = [figure_["median"] for figure_ in series["hit ratio"].values()]
    for name, colour in (("p50", _OURS), ("p99", _MORE)):
        values = [figure_["median"] for figure_ in series[name].values()]
        left.plot(ratios, values, color=colour, marker="o", ms=4, lw=1.2, label=name)
    left.set_ylabel(f"latency, {next(iter(series['p50'].values()))['unit']}")
    left.legend(frameon=False)
    calls = [figure_["median"] for figure_ in series["broker calls a second"].values()]
    right.plot(ratios, calls, color=_OURS, marker="o", ms=4, lw=1.2)
    right.set_ylabel("broker calls a second")
    for axes in (left, right):
        axes.set_xlabel("hit ratio")
        axes.set_ylim(bottom=0)
    return figure


def _spread(figures: Iterable[Mapping[str, Any]]) -> list[list[float]]:
    """From each median down to the least and up to the most."""
    listed = list(figures)
    return [
        [max(0.0, figure["median"] - figure["least"]) for figure in listed],
        [max(0.0, figure["most"] - figure["median"]) for figure in listed],
    ]
