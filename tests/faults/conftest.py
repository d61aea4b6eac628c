from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.faults.broker import Pki


@pytest.fixture(scope="module", autouse=True)
def _only_what_is_new_is_collected() -> Iterator[None]:
    """Each fault is followed by a collection, which costs little if it need not look at the whole program."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))
