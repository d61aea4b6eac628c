"""What the warm path costs as all that it might grow with grows: agents, scopes, delegation, routes."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Final

from bench.effort import Effort
from bench.figures import Figure
from bench.growing import holders, populations, routes
from bench.growing.holders import LEAST, MOST, Held
from bench.growing.populations import Grown
from bench.growing.routes import Added
from bench.report import Section, Target

_FULL: Final = (1_000, 10_000, 100_000, 1_000_000)
_ENTRY: Final = 1.2 * 1024
_NOTES: Final = (
    (
        "each population in a process of its own, the garbage collector as it comes, but all that was loaded before "
        "the first agent out of its sight (gc.freeze)"
    ),
    "cache_size is a sixteenth above the population; the clock stands still, because a million take longer than a TTL",
    "agents differ in id, task, session, jti and two scopes; tokens of 762 bytes, whose signatures nobody checks",
    (
        "hit: agents from all over the population, each for the first time since it was let in; the same thousand "
        "again: over and over; the collector is off for both"
    ),
    (
        "insert: header, checks, answer read, identity kept, all but the exchange with the broker: the last 1,000 of a "
        "population, and 1,000 more once the cache is full"
    ),
    (
        "worst insert: of every single one, in processor time of its thread, with what the collector did in it; for "
        "all but the last 1,000 only the last step of an insert: hash, identity, cache; each population is filled "
        "twice, and the better worst one counts"
    ),
    "bytes an identity: what the resident memory grew by, without the sample's credentials; 1 KB is 1,024 bytes",
    "scopes and depth: a hit for a route's template that asks for the last scope; the token grows with both",
    "routes: the middleware, and requires_scope with a template; in turn, call by call, with the bare route before it",
)


def run(effort: Effort) -> Section:
    section = Section("Growth of the warm path", notes=list(_NOTES))
    _identities(section, populations.grown(_FULL[:-1] if effort.quick else _FULL, effort))
    section.figures.append(populations.traced())
    # The frameworks are out of the collector's sight: it runs before each stretch, and would walk through all of them.
    gc.collect()
    gc.freeze()
    try:
        _held(section, holders.held(effort))
        for framework, added in routes.added(effort).items():
            _routes(section, framework, added)
    finally:
        gc.unfreeze()
    if effort.quick:
        section.notes.append("quick: up to 100,000 agents; targets that name a million are held against these")
    return section


def _identities(section: Section, grown: Grown) -> None:
    sizes = list(grown.filled)
    least, most = sizes[0], sizes[-1]
    for name, figures in (
        ("hit by identities", grown.once),
        ("hit by identities, the same thousand again", grown.again),
        ("insert by identities", grown.insert),
        ("insert into a full cache by identities", grown.evict),
    ):
        section.series[name] = {str(size): figure for size, figure in figures.items()}
    for name, member in (
        ("worst insert by identities", "worst"),
        ("worst insert by identities, without the collector", "worst_else"),
        ("worst but one in 10,000 by identities", "most"),
    ):
        section.series[name] = {
            str(size): Figure(f"{size:,}", "ms", (said[member],)) for size, said in grown.filled.items()
        }
    last = grown.filled[most]
    section.figures += [
        replace(grown.hashing[most], name=f"hash alone, at {most:,}"),
        grown.again[most].over(grown.again[least], f"hit, a thousand again: {most:,} / {least:,} identities"),
        grown.evict[most].over(grown.insert[most], f"insert at {most:,}: full cache / one with room"),
        Figure(f"insert at {most:,}: the last step", "us", (last["kept"],)),
        Figure(f"insert at {most:,}: worst by the clock", "ms", (last["worst_by_the_clock"],)),
    ]
    section.targets += [
        Target(
            grown.once[most].over(grown.once[least], f"hit: {most:,} / {least:,} identities"),
            "at most",
            3,
            why="all but the thousand used last are packed, and the first hit of one unpacks it",
        ),
        Target(Figure(f"worst insert up to {most:,} identities", "ms", (last["worst"],)), "under", 5),
        Target(Figure(f"bytes an identity at {most:,}", "B", (last["entry"],)), "at most", _ENTRY),
    ]
    section.notes.append(
        f"{most:,}: the worst insert was number {last['worst_at'] + 1:,}, {last['worst_collecting']:.2f} ms of it in "
        f"the collector; of all its runs, {last['full_collections']} through all generations, the longest took "
        f"{last['longest_collection']:.2f} ms"
    )


def _held(section: Section, held: dict[tuple[int, int], Held]) -> None:
    section.series["hit by scopes"] = {str(scopes): held[scopes, 0].hit for scopes in holders.SCOPES}
    section.series["hit by depth"] = {str(depth): held[1, depth].hit for depth in holders.DEPTHS}
    least, most = held[LEAST], held[MOST]
    assert least.hashing is not None
    assert most.hashing is not None
    judging = most.hit.above(most.hashing, "").over(
        least.hit.above(least.hashing, ""), "either less its hash: most / least"
    )
    section.figures += [
        Figure("hash alone, one scope, depth 0", "us", least.hashing.rounds),
        Figure("hash alone, 256 scopes and depth 5", "us", most.hashing.rounds),
        Figure("hit, 256 scopes and depth 5", "us", most.hit.rounds),
        judging,
    ]
    section.targets.append(
        Target(
            most.hit.over(least.hit, "hit: 256 scopes and depth 5 / one scope, depth 0"),
            "at most",
            1.3,
            why=f"the keyed hash, which reads all of a token, {most.token:,} bytes against {least.token:,}",
        )
    )
    by_scopes = ", ".join(f"{scopes}: {held[scopes, 0].token:,}" for scopes in holders.SCOPES)
    by_depth = ", ".join(f"{depth}: {held[1, depth].token:,}" for depth in holders.DEPTHS)
    section.notes.append(f"bytes of a token by scopes: {by_scopes}; by depth: {by_depth}; both most: {most.token:,}")


def _routes(section: Section, framework: str, added: Added) -> None:
    section.series[f"added by routes ({framework})"] = {str(size): figure for size, figure in added.last.items()}
    least, most = min(added.last), max(added.last)
    section.figures += [
        *added.bare.values(),
        *added.others,
        added.last[most].over(added.last[least], f"{framework}: added with {most:,} routes / with {least}"),
    ]
