"A person leaves all positions: first by quotes at the touch, then by taking what others quote"
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.process import Process, environment, get, ledger, until
from tests.sessions.test_sessions import DAY, said


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    "A lively exchange, and a session on it that holds something"
    processes = [Process(tmp_path, "exchange", "--port", "0", *DAY, "--json")]
    try:
        exchange = processes[0].json("rest")
        env = environment(tmp_path, KALSHI_API_KEY_ID=exchange["key_id"], KALSHI_PRIVATE_KEY_FILE=exchange["key_file"],
                          MAX_FILL_BURST="5000")  # fmt: skip
        processes.append(Process(tmp_path, "run", "--env", "sandbox", "--rest", exchange["rest"], "--ws", exchange["ws"],
                                 "--control-port", "0", "--json", env=env))  # fmt: skip
        where = processes[1].json("started")["started"]
        until(lambda: net_of(where), "a position", 60)
        yield exchange, where
    finally:
        for process in reversed(processes): process.kill()


def net_of(where: dict[str, Any]) -> dict[str, str]:
    now = get(f"{where['control']}/api/strategy/status", where)["maker"]
    return {m["ticker"]: m["net"] for m in now["markets"] if m["net"] != "0.00" and m["status"] == "active"}


def test_flatten_leaves_what_it_can_and_says_what_is_left(tmp_path: Path, trading: tuple[dict[str, Any], dict[str, Any]]):
    exchange, where = trading
    status, text = said(tmp_path, "flatten", "--patience", "1s", "--cost", "30")
    now = get(f"{where['control']}/api/strategy/status", where)["maker"]
    held = {t: n for t, n in net_of(where).items()}
    assert status == 0 and now["state"] in ("stopped", "stopping"), (text, now["state"])
    assert text.startswith("Flat:") if not held else all(f"{n} {t}" in text for t, n in held.items()), (text, held)
    theirs = ledger(exchange)["positions"]
    for ticker in theirs:
        net = f"{theirs[ticker]['net'] / 100:.2f}"
        assert held.get(ticker, "0.00") == net or net == "0.00", (ticker, net, held)
    takers = [f for f in ledger(exchange)["fills"] if f["is_taker"]]
    assert len(held) == 0 or takers, "what was left cost more than 30 cents, or nobody quoted"


def test_what_flatten_may_not_do_is_refused_in_a_sentence(tmp_path: Path, trading: tuple[dict[str, Any], dict[str, Any]]):
    assert said(tmp_path, "flatten", "--cost", "200")[0] == 1
    assert said(tmp_path, "flatten", "--patience", "soon")[0] != 0
    assert said(tmp_path, "kill")[0] == 0
    status, text = said(tmp_path, "flatten")
    assert status == 1 and "rearm" in text and "Traceback" not in text
