"""Every fault of a broker has one outcome (threats B, P3 and P11), and none leaves anything behind.

No test measures time: a fault that needs a deadline goes on for ever, and a watchdog says so if nothing ends it.
"""

from __future__ import annotations

import pytest

from tests.faults.asking import Blocking, Looping
from tests.faults.bodies import BODIES
from tests.faults.broker import Pki
from tests.faults.claiming import CLAIMING
from tests.faults.connecting import CONNECTING
from tests.faults.expect import expect
from tests.faults.fault import Fault
from tests.faults.statuses import STATUSES
from tests.faults.timing import TIMING

FAULTS = [*CONNECTING, *TIMING, *STATUSES, *BODIES, *CLAIMING]
# More than one answer of the broker, so they are no faults of this table.
ELSEWHERE = {
    "B-19": "tests/fronts/test_load.py: up and down every second",
    "B-22": "tests/core/test_stale.py: an outage with stale_if_error",
}
LATER = {
    "B-17 readiness follows validate": "nothing has a readiness before the forward-auth service",
    "P11 faults of Redis": "there is no shared cache yet",
}


WAYS: dict[str, type[Blocking] | type[Looping]] = {"check": Blocking, "acheck": Looping}


def _case(fault: Fault, way: str) -> object:
    marks = []
    if way in fault.xfail:
        # The sweep over the whole suite would see the tokens of these, too.
        marks = [pytest.mark.xfail(strict=fault.always, reason=fault.xfail[way]), pytest.mark.canary_dies]
    return pytest.param(fault, WAYS[way], id=f"{fault.name}-{way}", marks=marks)


@pytest.mark.parametrize("fault, asker", [_case(fault, way) for fault in FAULTS for way in WAYS])
def test_a_fault_has_its_outcome(
    fault: Fault,
    asker: type[Blocking] | type[Looping],
    pki: Pki,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expect(fault, asker, pki, caplog, monkeypatch)


def test_every_id_has_a_fault_or_a_reason_why_not() -> None:
    assert {fault.id for fault in FAULTS} | set(ELSEWHERE) == {f"B-{number:02}" for number in range(1, 25)}
    assert not {fault.id for fault in FAULTS} & set(ELSEWHERE)


def test_p11_at_least_sixty_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert len([fault for fault in FAULTS if fault.reason is not None]) >= 60


@pytest.mark.parametrize("name, why", list(LATER.items()))
def test_what_is_left_for_later(name: str, why: str) -> None:
    pytest.skip(f"{name}: {why}")
