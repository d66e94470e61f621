"""Without a network nobody waits for the hub; behind a proxy, which looks names up itself, it is asked all the same."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from huggingface_hub import constants

from selfsight.nn import hub


@pytest.mark.parametrize(
    ("known", "proxies", "asked"),
    [(False, {}, False), (True, {}, True), (False, {"https": "http://127.0.0.1:1"}, True)],
)
def test_the_hub_is_asked_where_it_may_answer(
    known: bool, proxies: dict[str, str], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_up(host: str, port: None) -> list[Any]:
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [host]

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    with hub.where_it_answers():
        assert constants.is_offline_mode() != asked
    assert not constants.is_offline_mode()
