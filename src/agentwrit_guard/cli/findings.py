"""The tally of a log in words and tables, or as one JSON document.

Counts come first in a row, so that nothing has to be cut to a terminal's width. Paths, ids and scopes are escaped: they
may be anybody's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from agentwrit_guard.cli.advice import advice
from agentwrit_guard.cli.requests import Place
from agentwrit_guard.cli.tally import Count, Key, Lack, Rows, Tally, Why
from agentwrit_guard.jsonlog import spelt


def as_json(tally: Tally, *, left_out: int, others: int, top: int) -> None:
    document = {
        "would_refuse": tally.wanting,
        "first": _time(tally.first),
        "last": _time(tally.last),
        "lines": {"decisions": tally.records, "other_records": others, "left_out": left_out},
        "requests": tally.requests,
        "refusals": {**_counts(tally.refusals), "share": _share(tally)},
        "ended": _counts(tally.ended),
        "enforced": tally.enforced,
        "routes": _rows(tally.routes, top, _place),
        "agents": _rows(tally.agents, top, lambda agent: {"agent_id": agent}),
        "reasons": _rows(tally.reasons, top, lambda why: {**why._asdict(), "advice": advice(why.reason)}),
        "lacks": _rows(
            tally.lacks,
            top,
            lambda lack: {"agent_id": lack.agent, "missing": list(lack.missing), **_place(lack.place)},
        ),
    }
    print(json.dumps(document, indent=2))


def as_text(tally: Tally, *, left_out: int, others: int, top: int) -> None:
    print("\n".join(f"{name:<12} {text}" for name, text in _facts(tally, left_out, others)))
    _table("Routes", tally.routes, top, _shown_place)
    _table("Agents", tally.agents, top, _shown_agent)
    _table("Reasons", tally.reasons, top, _shown_why, split=False)
    _table("Missing scopes", tally.lacks, top, _shown_lack, split=False)


def _facts(tally: Tally, left_out: int, others: int) -> Iterator[tuple[str, str]]:
    yield "records", f"{tally.records}, from {_time(tally.first)} to {_time(tally.last)}"
    yield "requests", str(tally.requests)
    yield "refused", f"{tally.refusals.total} ({_share(tally):.1%}) would have been, had the guard enforced"
    if tally.refusals.total:
        yield "", f"{tally.refusals.refused} for what the caller sent or holds (4xx)"
        yield "", f"{tally.refusals.unavailable} because the broker could not be asked (503)"
    if tally.ended.total:
        yield (
            "ended",
            f"{tally.ended.total} open connections would have been, {tally.ended.unavailable} of them with 503",
        )
    if tally.enforced:
        yield "enforced", f"{tally.enforced} requests were refused indeed; they are in no table"
    if others:
        yield "others", f"{others} lines with other log records"
    if left_out:
        yield "left out", f"{left_out} lines that could not be read"


def _table(title: str, rows: Rows[Key], top: int, show: Callable[[Key], str], *, split: bool = True) -> None:
    """`split` gives the 503 a column of their own."""
    shown, others = rows.top(top)
    if not shown:
        return
    print(f"\n{title}\n    4xx    503" if split else f"\n{title}")
    for key, count in shown:
        print(f"{count.refused:>7}{count.unavailable:>7}  {show(key)}" if split else f"{count.total:>7}  {show(key)}")
    if others:
        print(f"{others:>{14 if split else 7}}  in rows that are not shown")


def _shown_place(place: Place) -> str:
    return f"{_safe(place.method)} {_safe(place.path)}{'' if place.declared else ' (no route known)'}"


def _shown_agent(agent: str | None) -> str:
    return "unknown" if agent is None else _safe(agent)


def _shown_why(why: Why) -> str:
    return f"{why.status} {_safe(why.reason)}: {advice(why.reason)}"


def _shown_lack(lack: Lack) -> str:
    return f"{_shown_agent(lack.agent)} lacks {_safe(' '.join(lack.missing))} on {_shown_place(lack.place)}"


def _rows(rows: Rows[Key], top: int, members: Callable[[Key], dict[str, Any]]) -> dict[str, Any]:
    shown, others = rows.top(top)
    return {"rows": [{**members(key), **_counts(count)} for key, count in shown], "others": others}


def _place(place: Place) -> dict[str, Any]:
    return {"method": place.method, "path": place.path, "declared": place.declared}


def _counts(count: Count) -> dict[str, int]:
    return {"refused": count.refused, "unavailable": count.unavailable}


def _share(tally: Tally) -> float:
    return round(tally.refusals.total / tally.requests, 4) if tally.requests else 0.0


def _time(time: datetime | None) -> str | None:
    return None if time is None else spelt(time)


def _safe(text: str) -> str:
    """Without anything that a terminal could obey or that looks like other text."""
    return ascii(text)[1:-1]
