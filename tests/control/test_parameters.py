"What `set` says is so, whatever the strategy: the core, its status, the control API, the panel, the journal and a restart agree"
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Struct, json

from kalshi_mm.config import Settings
from kalshi_mm.control.api import No, new_values
from kalshi_mm.engine.alerts import Alerts
from kalshi_mm.engine.journal import Journal
from kalshi_mm.engine.notices import Notices
from kalshi_mm.engine.session_state import SessionState
from kalshi_mm.engine.status import status
from kalshi_mm.maker.maker import MarketMaker
from kalshi_mm.maker.parameters import Config, LiveParameters
from kalshi_mm.model.messages import Command, Notify
from kalshi_mm.model.numbers import CENT, Price
from kalshi_mm.panel.snapshot import parameter_rows
from kalshi_mm.strategy.parameters import Within
from kalshi_mm.strategy.protocol import Quotes, Strategy, View
from kalshi_mm.strategy.spread_capture import Params, SpreadCapture

T = 1_700_000_000_000


class Nothing:
    "A strategy that kalshi_mm has never seen"

    def quote(self, view: View) -> Quotes: return Quotes.none("this strategy never quotes")


class CoolParams(Struct, frozen=True):
    "The parameters of `Cool`"

    distance: Annotated[Price, Within("cents", "0.01", "20", "from the middle")] = 3 * CENT
    both: Annotated[bool, Within("0 or 1", "0", "1", "sides or none")] = False


class Cool(Nothing):
    "Another one, with parameters of its own"

    def __init__(self, params: CoolParams): self.params = params


STRATEGIES = {"spread capture": lambda: SpreadCapture(Params()), "none": Nothing, "others": lambda: Cool(CoolParams())}
TABLE = {p.name: p for make in STRATEGIES.values() for p in LiveParameters(make(), Config("s")).table}


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> Strategy: return STRATEGIES[request.param]()


def ask(maker: MarketMaker, changes: dict[str, str]) -> tuple[bool, str]:
    "Whether the API lets a change through, and what the core says of it"
    try: new_values(maker, changes)
    except No: passes = False
    else: passes = True
    actions = maker.handle(Command(T, "set", "test", json.encode(changes).decode()))
    text, = (a.reason for a in actions if isinstance(a, Notify))
    return passes, text


@pytest.mark.parametrize("name", TABLE)
def test_a_parameter_is_set_everywhere_or_refused_everywhere(name: str, strategy: Strategy):
    maker = MarketMaker(strategy, Config("s"))
    parameter, exists = TABLE[name], TABLE[name] in maker.live.table
    before = status(maker, T).parameters
    value = parameter.lowest if before.get(name) == parameter.highest else parameter.highest
    passes, text = ask(maker, {name: value})
    shown = {row.name: row.value for row in parameter_rows(maker)}
    assert exists is passes is (name in before) is (name in shown)
    assert shown == status(maker, T).parameters == maker.live.values()
    if exists:
        assert float(shown[name]) == float(value) and f"{name} {before[name]} -> {shown[name]}" in text
    else: assert "refused" in text and "this strategy has no such parameter" in text and shown == before


def test_the_limits_that_the_core_enforces_are_those_that_were_set(strategy: Strategy):
    maker = MarketMaker(strategy, Config("s"))
    changes = {"max_daily_loss": "10", "max_position_per_market": "7", "max_total_position": "9", "max_fill_burst": "3"}
    assert ask(maker, changes)[0]
    limits = maker.config.limits
    assert (limits.max_daily_loss, limits.max_position, limits.max_total, limits.max_burst) == (10_000_000, 700, 900, 300)


def test_one_that_does_not_exist_refuses_the_whole_change():
    maker = MarketMaker(Nothing(), Config("s"))
    before = maker.live.values()
    passes, text = ask(maker, {"max_daily_loss": "10", "min_spread": "7"})
    assert not passes and "min_spread" in text and maker.live.values() == before


def test_what_a_person_has_set_comes_back_as_far_as_the_strategy_has_it(tmp_path: Path):
    said = []
    for session, strategy in (("one", SpreadCapture(Params())), ("two", Nothing()), ("three", SpreadCapture(Params()))):
        journal = Journal(tmp_path / "journal.db")
        maker = MarketMaker(strategy, Config(session))
        notices = Notices(Alerts("", session, "sandbox"), journal, lambda: T)
        state = SessionState(Settings(_env_file=None), journal, maker, notices, lambda: T)
        maker.handle(state.begin(killed=""))
        if session == "one": maker.handle(Command(T, "set", "test", '{"min_spread": "7", "max_daily_loss": "10"}'))
        assert maker.live.values()["max_daily_loss"] == "10.00"
        said.append(notices.recent)
        state.end()
        journal.close()
    assert any("max_daily_loss is 10.00" in n for n in said[1])
    assert any("min_spread was set to 7; this strategy has no such parameter" in n for n in said[1])
