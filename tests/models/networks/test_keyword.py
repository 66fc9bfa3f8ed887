"""Keyword networks by name."""

import importlib.util

import pytest

from celosia.models.errors import CelosiaError
from celosia.models.networks.keyword import KEYWORDS, keyword


def test_unknown_and_missing_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CelosiaError, match="no keyword network is called 'siri': known are okay_"):
        keyword("siri")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CelosiaError, match="missing: install it with `pip install pymicro-wake"):
        keyword(KEYWORDS[0])


@pytest.mark.skipif(
    importlib.util.find_spec("pymicro_wakeword") is None, reason="pymicro-wakeword is missing"
)
def test_a_network_of_the_package() -> None:
    network = keyword("okay_nabu")
    assert network.trained
    assert network.macs == 1_341_952
