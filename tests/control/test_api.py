"Who may talk to a running engine, what it tells, and what it does when told: real processes, real sockets"
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from kalshi_mm.control.access import command_token
from kalshi_mm.control.remote import ControlClient, Refused, carry_out, watch
from kalshi_mm.control.runtime import Running
from tests.sessions.process import COMMAND, Process, environment, ledger, until

DAY = ["--day", "2026-10-04", "--seed", "2", "--speed", "120"]
ENGINE = ["run", "--env", "sandbox", "--control-port", "0", "--json"]


class Setting:
    "An exchange and an engine on it"

    def __init__(self, folder: Path):
        self.folder = folder
        self.exchange = Process(folder, "exchange", "--port", "0", *DAY, "--json")
        self.at = self.exchange.json("rest")
        self.start()

    def start(self, *words: str) -> None:
        key = {"KALSHI_API_KEY_ID": self.at["key_id"], "KALSHI_PRIVATE_KEY_FILE": self.at["key_file"]}
        env = environment(self.folder, **key, MAX_FILL_BURST="100000")  # a fast day fills as fast
        self.engine = Process(self.folder, *ENGINE, "--rest", self.at["rest"], "--ws", self.at["ws"], *words, env=env)
        self.where = Running(**self.engine.json("started")["started"])
        self.token = self.where.token
        self.client = ControlClient(self.where.port, self.token, "web")  # as a browser comes

    def call(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        "One raw call: status, headers, body; `host` and `origin` as one likes"
        line = http.client.HTTPConnection("127.0.0.1", self.where.port, timeout=10)
        try:
            line.putrequest(method, path, skip_host=True)
            given = {"host": f"localhost:{self.where.port}"} | headers
            for name, value in given.items(): line.putheader(name.replace("_", "-"), value)
            line.endheaders()
            answer = line.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally: line.close()

    def stream(self, token: str, origin: str | None = None) -> ClientConnection:
        protocols = [Subprotocol("kalshi-mm"), Subprotocol(f"bearer.{token}")]
        return connect(f"ws://localhost:{self.where.port}/api/stream", subprotocols=protocols, compression=None, proxy=None,
                       origin=None if origin is None else Origin(origin), max_size=1 << 24)

    def close(self) -> None:
        for process in (self.engine, self.exchange): process.kill()


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    "An engine that quotes, for all tests that leave it so"
    setting = Setting(tmp_path_factory.mktemp("control"))
    try:
        until(lambda: setting.client.status().maker.resting, "quotes")
        yield setting
    finally: setting.close()


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Setting]:
    "An engine for a test that kills or ends it"
    setting = Setting(tmp_path)
    try: yield setting
    finally: setting.close()


GOOD = {"authorization": "Bearer {token}"}
ELSEWHERE = {"origin": "https://evil.example"}
JUPYTER = {"origin": "http://localhost:8888"}
KILL = "/api/risk/kill-switch"


@pytest.mark.parametrize(("method", "path", "headers", "status"), [
    ("GET", "/api/snapshot", {}, 401),
    ("GET", "/api/strategy/status", {}, 401),
    ("POST", "/api/strategy/stop", {}, 401),
    ("POST", KILL, {}, 401),
    ("GET", "/api/snapshot", {"authorization": "Bearer stale"}, 401),
    ("GET", "/api/snapshot", {"authorization": "Basic {token}"}, 401),
    ("GET", "/api/snapshot?token={token}", {}, 401),
    ("GET", "/api/snapshot", {"cookie": "token={token}"}, 401),
    ("GET", "/api/snapshot", GOOD | {"host": "evil.example"}, 403),
    ("GET", "/", {"host": "evil.example:{port}"}, 403),
    ("POST", KILL, GOOD | {"host": "localhost.evil.example"}, 403),
    ("POST", "/api/strategy/stop", GOOD | ELSEWHERE, 403),
    ("POST", KILL, GOOD | ELSEWHERE, 403),
    ("OPTIONS", KILL, ELSEWHERE, 403),
    ("POST", "/api/strategy/stop", GOOD | {"origin": "null"}, 403),
    ("POST", "/api/strategy/stop", JUPYTER | {"authorization": "Bearer stale"}, 401),
    ("GET", "/api/snapshot", GOOD | JUPYTER, 403),
    ("POST", "/api/strategy/start", GOOD, 409),  # without a deadline
    ("POST", "/api/strategy/start", GOOD | {"x_deadline_ms": "1"}, 409),
    ("POST", "/api/strategy/start", {"authorization": "Bearer {kill}", "x_deadline_ms": "99999999999999"}, 409),
    ("GET", "/api/snapshot", {"authorization": "Bearer {kill}"}, 401),
    ("PUT", "/api/parameters", {"content_length": "99999"} | GOOD, 413),
    ("POST", KILL, JUPYTER | {"authorization": "Bearer stale"}, 401),
    ("GET", "/api/strategy/stop", GOOD, 405),
    ("GET", KILL, GOOD, 405),
    ("GET", "/static/../format.py", {}, 404),
    ("GET", "/static/%2e%2e/format.py", {}, 404),
    ("GET", "/static/%2e%2e%2fformat.py", {}, 404),
    ("GET", "/static/no_such_module.js", {}, 404),
    ("GET", "/static/panel.js", {"host": "evil.example"}, 403),
    ("GET", "/api/docs", GOOD, 404),
])
def test_a_hostile_call_is_refused_and_changes_nothing(method, path, headers, status, trading: Setting):
    given = {"token": trading.token, "kill": command_token(trading.token), "port": trading.where.port}
    headers = {k: v.format(**given) for k, v in headers.items()}
    got, _, body = trading.call(method, path.format(**given), **headers)
    assert got == status, body
    assert trading.token not in body
    assert trading.client.status().maker.state == "quoting"


def test_a_page_elsewhere_is_told_nothing_that_lets_it_read_or_send(trading: Setting):
    asked = (("OPTIONS", KILL), ("OPTIONS", "/api/strategy/start"), ("POST", KILL), ("GET", "/api/snapshot"), ("GET", "/"))
    for method, path in asked:
        headers = trading.call(method, path, **ELSEWHERE, access_control_request_method="POST")[1]
        assert not [h for h in headers if h.startswith("access-control")]
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


@pytest.mark.parametrize("headers", [{}, {"token": "stale"}, {"origin": "https://evil.example"}, {"origin": "http://localhost:8888"}])
def test_the_stream_is_closed_to_strangers(headers, trading: Setting):
    with pytest.raises(InvalidStatus) as refused:
        trading.stream(headers.get("token", trading.token if "origin" in headers else ""), headers.get("origin"))
    assert refused.value.response.status_code == 403


def test_our_own_page_may_watch(trading: Setting):
    with trading.stream(trading.token, f"http://localhost:{trading.where.port}") as line:
        assert line.subprotocol == "kalshi-mm"
        assert json.loads(line.recv(timeout=10))["session"] == trading.where.session


def test_the_token_is_for_its_owner_alone_and_stands_nowhere_else(trading: Setting):
    home = Path(trading.where.journal).parent
    for name in ("token", "engine.json"): assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    secrets = {trading.token, command_token(trading.token)}
    written = [p for p in trading.folder.rglob("*") if p.is_file() and p.name != "token"]
    assert home / "engine.log" in written
    assert not [p for p in written if any(s.encode() in p.read_bytes() for s in secrets)]
    assert not [line for line in trading.engine.lines if any(s in line for s in secrets)]
    said = json.dumps([trading.client.snapshot(), trading.client.get("/api/openapi.json")])
    assert not [s for s in secrets if s in said]


def test_a_token_of_an_earlier_run_opens_nothing(mine: Setting):
    old, files = mine.token, [Path(mine.where.token_file), Path(mine.where.token_file).with_name("engine.json")]
    assert mine.engine.end()[0] == 0
    assert not [f for f in files if f.exists()]  # an orderly end leaves no word
    mine.start()
    assert mine.token != old
    with pytest.raises(Refused) as refused: ControlClient(mine.where.port, old).status()
    assert refused.value.status == 401 and "earlier run" in str(refused.value)


def test_the_notebooks_page_kills_from_its_own_port_and_is_told_how_far_it_has_come(mine: Setting):
    until(lambda: mine.client.status().maker.resting, "quotes")
    wants = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,x-client"}
    status, headers, _ = mine.call("OPTIONS", KILL, **JUPYTER, **wants)
    assert status == 204 and headers["access-control-allow-origin"] == JUPYTER["origin"]
    assert {"authorization", "x-client"} <= set(headers["access-control-allow-headers"].split(", "))
    may = JUPYTER | {"authorization": f"Bearer {command_token(mine.token)}"}
    status, headers, body = mine.call("POST", KILL, **may, x_client="notebook")
    assert status == 200 and headers["access-control-allow-origin"] == JUPYTER["origin"]
    assert json.loads(body)["who"] == "notebook" and json.loads(body)["of"] > 0
    until(lambda: json.loads(mine.call("GET", "/api/risk/kill", **may)[2])["verified_ms"], "the exchange is empty")
    assert ledger(mine.at)["resting"] == []
    assert mine.client.get("/api/commands")[-1]["verb"] == "kill"


def test_a_kill_is_answered_although_its_body_never_comes(mine: Setting):
    until(lambda: mine.client.status().maker.resting, "quotes")
    with socket.create_connection(("127.0.0.1", mine.where.port), 10) as line:
        words = (f"POST {KILL} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {mine.token}", "Content-Length: 99", "", "")
        line.sendall("\r\n".join(words).encode())
        line.settimeout(10)
        assert line.recv(4096).startswith(b"HTTP/1.1 200")
    until(lambda: mine.client.get("/api/risk/kill")["verified_ms"], "the exchange is empty")


def test_the_snapshot_tells_what_the_panel_needs(trading: Setting):
    client = trading.client
    until(lambda: any(f["markout"]["1"] is not None for f in client.get("/api/fills")), "a fill that is a second old", 90)
    ticker = next(f["ticker"] for f in client.get("/api/fills"))
    seen = client.snapshot(market=ticker)
    assert [m["ticker"] for m in seen["markets"]] == [m["ticker"] for m in seen["engine"]["maker"]["markets"]]
    pnl = {name: round(float(v) * 1e6) for name, v in seen["session_pnl"].items()}
    assert pnl["captured"] + pnl["exits"] + pnl["drift"] + pnl["settlement"] - pnl["fees"] == pnl["profit"]
    assert seen["market"]["ticker"] == ticker and seen["market"]["fills"] and seen["market"]["series"]["ts_ms"]
    assert all(row["why"] for rows in seen["market"]["quotes"].values() for row in rows)
    assert float(seen["at_risk"]["if_filled"]) <= float(seen["at_risk"]["positions"])
    assert client.snapshot(market="NONE")["market"] is None
    with pytest.raises(Refused, match="no market 'NONE'"): client.get("/api/markets/NONE")
    with pytest.raises(Refused, match="range"): client.snapshot(range="year")


def test_commands_are_checked_carried_out_and_remembered_with_their_giver(trading: Setting):
    client, ticker = trading.client, trading.client.snapshot()["markets"][0]["ticker"]
    with pytest.raises(Refused) as refused: client.put("/api/parameters", {"min_spread": "0", "skew_ticks": "2", "nonsense": "1"})
    assert refused.value.status == 422 and set(refused.value.fields) == {"min_spread", "nonsense"}
    client.put("/api/parameters", {"min_spread": "4"})
    client.post(f"/api/markets/{ticker}/pause")
    client.post(f"/api/markets/{ticker}/resume")
    client.post("/api/strategy/reduce-only", {"on": False})
    client.post("/api/account/reconcile")
    trading.where.client("cli").post("/api/strategy/stop")
    until(lambda: not client.status().maker.resting, "nothing rests")
    trading.where.client("somebody").post("/api/strategy/start")
    until(lambda: "stopped" not in [m.bid.why for m in client.status().maker.markets], "a start")  # whatever the spreads are
    rows = client.get("/api/commands")[-8:]
    told = [(c["verb"], c["who"], c["detail"] if c["verb"] != "set" else c["new"], bool(c["refused"])) for c in rows]
    assert told == [
        ("set", "web", {}, True), ("set", "web", {"min_spread": "4"}, False), ("pause", "web", ticker, False),
        ("resume", "web", ticker, False), ("reduce_only", "web", "off", False), ("reconcile", "web", "", False),
        ("stop", "cli", "", False), ("start", "api", "", False),
    ]


def test_all_that_the_pages_ask_for_is_there(trading: Setting):
    known = trading.client.get("/api/openapi.json")["paths"]
    verbs = {"start", "stop", "flatten", "end", "reduce", "pause", "resume", "reset", "reconcile", "accept", "rearm", "set"}
    page = (files("kalshi_mm.panel") / "static" / "connection.js").read_text(encoding="utf-8")
    paths = page[page.index("const PATHS"):page.index("const adds_risk")]
    asked = {verb: f"/api/{path}" for verb, path in re.findall(r'(\w+): (?:m|\(\)) => \[["`]([^"`?]*)', paths)}
    assert asked.keys() == verbs
    verbs |= {"kill"}
    asked["kill"] = "/api/risk/kill-switch"

    class Asked(dict[str, Any]):
        def post(self, path: str, body: object = None, **query: str) -> None: self["POST"] = path
        def put(self, path: str, body: object) -> None: self["PUT"] = path

    pressed = {"market": "X", "rule": "drift", "on": True, "values": {}}
    for verb in verbs:
        carry_out(said := Asked(), {"do": verb} | pressed)  # type: ignore[arg-type]
        wanted = [("post", asked[verb]), *((method.lower(), path) for method, path in said.items())]
        for method, path in wanted:
            plain = re.sub(r"/markets/(X|\$\{.*\})/\w+", "/markets/{ticker}/{verb}", path)
            assert method in known.get(plain, {}), f"{verb}: {method} {path}"


def test_a_slow_reader_skips_to_the_newest(trading: Setting):
    watching = watch(trading.client, dict)
    first = next(watching)
    until(lambda: trading.client.snapshot()["n"] > first["n"] + 20, "twenty snapshots more")  # while it sleeps
    behind = [next(watching)["n"], next(watching)["n"]]  # those that were on their way
    assert next(watching)["n"] > first["n"] + 20 > behind[-1]
    watching.close()


def test_viewers_of_different_markets_see_their_own(trading: Setting):
    tickers = [m["ticker"] for m in trading.client.snapshot()["markets"]][:2]
    seen: dict[str, Any] = {}

    def look(ticker: str) -> None:
        for snapshot in watch(trading.client, lambda: {"market": ticker}):
            if snapshot["market"]:
                seen[ticker] = snapshot["market"]["ticker"]
                return

    threads = [threading.Thread(target=look, args=(t,), daemon=True) for t in tickers]
    for t in threads: t.start()
    for t in threads: t.join(20)
    assert seen == {t: t for t in tickers}


def test_a_frozen_engine_is_told_apart_from_a_dead_one(mine: Setting):
    os.kill(mine.where.pid, signal.SIGSTOP)
    with pytest.raises(Exception, match="doesn't answer: TimeoutError"): mine.where.client(timeout_s=0.5).status()
    assert mine.where.listens
    mine.engine.kill()
    with pytest.raises(Exception, match="no engine listens"): mine.where.client().status()
    assert not mine.where.listens


def test_the_command_prints_a_link_whose_page_needs_no_token_and_holds_none(trading: Setting):
    env = environment(trading.folder)
    done = subprocess.run([*COMMAND, "status", "--link"], cwd=trading.folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"http://127.0.0.1:{trading.where.port}/#token={trading.token}"
    page = Path(str(files("kalshi_mm.panel"))) / "static"
    names = [""] + [f"static/{p.name}" for p in page.glob("*")]
    if not (page / "index.html").exists(): pytest.skip("the page is not in this tree")
    for name in names:
        status, headers, body = trading.call("GET", f"/{name}")
        assert status == 200 and headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        if name.endswith(".js"): assert headers["content-type"].startswith("text/javascript"), name  # or no module loads
        assert trading.token not in body
        there = re.findall(r"\w+://[^\s\"'`]+", body)
        assert not [u for u in there if not re.match(r"ws://\$|http://www\.w3\.org/|http://localhost", u)]


def test_the_page_is_told_what_it_draws_ready_formatted(trading: Setting):
    ticker = trading.client.snapshot()["markets"][0]["ticker"]
    drawn = trading.client.get("/api/panel", market=ticker)
    assert drawn["n"] > 0 and len(drawn["markets"]) == len(trading.client.snapshot()["markets"])
    watching = watch(trading.client, lambda: {"market": ticker}, path="/api/panel")
    assert next(watching).keys() == drawn.keys()
    watching.close()
