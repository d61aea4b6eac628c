"""The guard against the reference: twenty thousand inputs, always the same; and what the fuzzer would notice."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from agentwrit_guard.core.decisions import Reason
from tests.fuzz import pairs, runs
from tests.fuzz.__main__ import main, summary
from tests.fuzz.broken import BROKEN, BROKEN_SCOPES, Break, raises, star_holders_refused
from tests.fuzz.broken_policy import BROKEN_POLICY
from tests.fuzz.case import Case, Needs, Value
from tests.fuzz.generate import MUTATIONS, generate, plan
from tests.fuzz.reference import ALLOW, decide
from tests.fuzz.scopes import covers
from tests.vectors.folder import load

SEED, COUNT = 4, 20_000
WITHIN = 6_000
# Those that one request to a guard without a deny list can come to.
REASONS = {reason.code for reason in Reason} - {"deny_list", "breaker_open", "over_budget", "broker_busy"}


def test_p1_p12_guard_and_reference_agree_on_every_input() -> None:
    tally = runs.run(SEED, 0, COUNT)
    print(summary(tally, 0))
    assert tally.differences == []
    assert tally.inputs == COUNT
    assert tally.allowed >= runs.LEAST_ALLOWED
    assert tally.covered[True] + tally.covered[False] == COUNT
    assert min(tally.covered.values()) > COUNT / 20
    assert {reason for _, reason in tally.counts} == REASONS | {"ok", "configuration"}


@pytest.mark.parametrize("spoil", BROKEN + BROKEN_POLICY, ids=lambda spoil: spoil.__name__)
def test_a_broken_guard_is_noticed(spoil: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    found = next(filter(None, (runs.disagreement(generate(SEED, index))[1] for index in range(WITHIN))), "")
    assert found.startswith("guard ")
    assert ("guard raises" in found) == (spoil is raises)


@pytest.mark.parametrize("spoil", BROKEN_SCOPES, ids=lambda spoil: spoil.__name__)
def test_p12_broken_scopes_are_noticed(spoil: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    assert any(pairs.difference(SEED, index)[1] for index in range(WITHIN))


def test_p12_the_model_says_what_the_broker_said() -> None:
    cases = load("scope_cover.json")["cases"]
    assert [case for case in cases if covers(case[1], case[0]) != case[2]] == []


def test_the_reference_shares_no_code_with_the_guard() -> None:
    for name in ("reference", "rules", "scopes", "strict", "case", "keys"):
        tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names | {"tests", "cryptography"}
        own = {f"tests.fuzz.{other}" for other in ("case", "keys", "rules", "scopes", "strict")}
        assert {module for module in imported if module.startswith("tests")} <= own | {"tests.fuzz", "tests.kit.tokens"}


def test_every_good_request_is_allowed_and_every_mutation_is_used() -> None:
    used = set()
    for index in range(2000):
        steps = plan(SEED, index)
        used |= {(stage, mutation) for stage, mutation in steps}
        if index < 300:
            assert decide(generate(SEED, index, without=range(len(steps)))) == (ALLOW, True)
    assert used == {(stage, mutation) for stage, mutations in MUTATIONS.items() for mutation in mutations}


def test_a_case_is_its_seed_and_its_repr() -> None:
    for index in range(200):
        case = generate(SEED, index)
        assert case == generate(SEED, index)
        assert eval(repr(case), {"Case": Case, "Needs": Needs, "Value": Value}) == case
    assert generate(SEED + 1, 1) != generate(SEED, 1)


def test_the_command_counts_and_prints_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "400", "--seed", "7"]) == 0
    text = capsys.readouterr().out
    for words in ("seed 7\n", "400 inputs", "allowed", "400 scope pairs", "differences: 0", "malformed_token"):
        assert words in text
    assert main(["--count", "1"]) in (0, 1)
    assert "seed " in capsys.readouterr().out


def test_processes_make_the_same_inputs() -> None:
    alone, together = runs.Tally(), runs.Tally()
    for jobs, tally in ((1, alone), (2, together)):
        for part in runs.spread(9, 1500, jobs, None):
            tally.add(part)
    assert alone == together
    assert alone.inputs == 1500


def test_time_may_be_up_before_the_count() -> None:
    assert list(runs.spread(9, 10**9, 1, 0)) == []
    assert list(runs.spread(9, 10**9, 2, 0)) == []


def test_a_difference_is_printed_small_and_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    star_holders_refused(monkeypatch)
    assert main(["--count", "3000", "--seed", str(SEED)]) == 1
    text = capsys.readouterr().out
    assert "differences: 0" not in text
    assert "guard says 403 (insufficient_scope), reference says allow" in text
    case = next(line for line in text.splitlines() if line.startswith("  Case("))
    assert decide(eval(case, {"Case": Case, "Needs": Needs, "Value": Value}))[0] == ALLOW


def test_what_refuses_everybody_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = "tests.fuzz.runs.generate"
    monkeypatch.setattr(refused, lambda seed, index, **_: Case((b"Basic x",)))
    assert main(["--count", "50", "--seed", "1"]) == 1
    assert "differences: 0" in capsys.readouterr().out


def test_the_command_wants_url_and_secret_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--broker-url", "http://127.0.0.1:1"])
    assert "go together" in capsys.readouterr().err
