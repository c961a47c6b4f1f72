"What people read when the exchange can't be reached: a sentence, never a traceback, never a page of HTML"
import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.control.direct_kill import Target, kill_target
from tests.sessions.process import environment, get, until
from tests.sessions.test_sessions import DAY, Start, exchange, said, start, trading

__all__ = ["exchange", "start"]
HEAD = b"<!DOCTYPE html>\n<html><head><title>Maintenance</title></head>\n<body><h1>503</h1>\n"
PAGE = HEAD + b"<p>unavailable</p>\n" * 50 + b"</body></html>\n"
DOWN = (b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


class Gateway:
    "Stands before an exchange and passes everything on; while it is `down` it answers with its own page"

    def __init__(self, port: int):
        self.down, self._to, self._open = threading.Event(), port, set[socket.socket]()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try: caller, _ = self._server.accept()
            except OSError: return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller:
            if self.down.is_set():
                if caller.recv(65536): caller.sendall(DOWN)
                return
            with socket.create_connection(("127.0.0.1", self._to)) as exchange:
                self._open |= {caller, exchange}
                back = threading.Thread(target=self._pass, args=(exchange, caller), daemon=True)
                back.start()
                self._pass(caller, exchange)
                back.join(5)

    def _pass(self, a: socket.socket, b: socket.socket) -> None:
        try:
            while data := a.recv(65536): b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError: pass  # the other side has gone

    def shut(self) -> None:
        "Maintenance begins"
        self.down.set()
        for s in self._open:
            try: s.shutdown(socket.SHUT_RDWR)
            except OSError: pass  # closed already

    def close(self) -> None:
        self.shut()
        self._server.close()


@pytest.fixture
def gateway(exchange: dict[str, Any]) -> Iterator[Gateway]:
    gateway = Gateway(int(exchange["rest"].split(":")[2].split("/")[0]))
    yield gateway
    gateway.close()


def through(exchange: dict[str, Any], port: int, scheme: str = "http") -> dict[str, str]:
    at = f"127.0.0.1:{port}/trade-api"
    return {"KALSHI_API_KEY_ID": exchange["key_id"], "KALSHI_PRIVATE_KEY_FILE": exchange["key_file"],
            "KALSHI_REST_URL": f"{scheme}://{at}/v2", "KALSHI_WS_URL": f"{scheme.replace('http', 'ws')}://{at}/ws/v2"}


def test_a_maintenance_page_is_a_sentence_wherever_it_is_told(exchange, gateway: Gateway, start: Start, tmp_path: Path):
    env = through(exchange, gateway.port)
    process = start("run", "--control-port", "0", "--json", env=environment(tmp_path, **env))
    where = process.json("started")["started"]
    until(trading(where), "quotes")
    gateway.shut()
    status = f"{where['control']}/api/strategy/status"
    words = "a web page, titled 'Maintenance', instead of an answer"
    for what in (f"refuses the stream: 503 {words}", f"the exchange doesn't answer: 503 {words}"):
        until(lambda what=what: any(what in n for n in get(status, where)["notes"]), what)
    notes = "\n".join(get(status, where)["notes"])
    others = environment(tmp_path / "elsewhere", **env)
    heard = [said(tmp_path, *command, **env | {"STATE_DIR": others["STATE_DIR"]}) for command in (["check"],)]
    assert [code for code, _ in heard] == [1] and all("Maintenance" in text for _, text in heard)
    home = str(tmp_path / "state/sandbox-x")
    target = Target("sandbox", env["KALSHI_REST_URL"], exchange["key_id"], exchange["key_file"], home)
    verdict = asyncio.run(kill_target(target, patience_s=1))
    assert not verdict.good and words in verdict.text
    gateway.down.clear()
    code, errors = process.end()
    assert (code, errors) == (0, ""), errors
    log = Path(where["log"]).read_text()
    for text in (log, notes, str(verdict), json.dumps(process.lines), *(text for _, text in heard)):
        assert not any(html in text for html in ("<html", "<!DOCTYPE", "<p>", "Traceback")), text


def test_an_obstacle_has_a_name(exchange, tmp_path: Path):
    port = int(exchange["rest"].split(":")[2].split("/")[0])
    nowhere = through(exchange, port) | {"KALSHI_REST_URL": "http://no.such.host.invalid/trade-api/v2"}
    cases: list[tuple[list[str], dict[str, str], str]] = [
        (["run"], nowhere, "the exchange at no.such.host.invalid can't be reached from here (no name resolution)"),
        (["run"], through(exchange, 1), "the exchange at 127.0.0.1:1 can't be reached from here (the connection is refused)"),
        (["run"], through(exchange, port, "https"), f"the exchange at 127.0.0.1:{port} can't be reached from here (TLS fails"),
    ]
    for command, env, why in cases:
        code, words = said(tmp_path, *command, **env)
        assert code == 1 and why in " ".join(words.split()) and "Traceback" not in words, words


def test_a_sandbox_on_another_address_can_be_used_as_it_announces_itself(start: Start, tmp_path: Path):
    try: socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError: pytest.skip("there is no IPv6 here")
    there = start("exchange", "--host", "::1", "--port", "0", *DAY, "--state", "here", "--json").json("rest")
    assert there["rest"].startswith("http://[::1]:") and there["ws"].startswith("ws://[::1]:")
    assert Path(there["key_file"]).is_absolute() and Path(there["members"][0]["key_file"]).is_absolute()
    key = {"KALSHI_API_KEY_ID": there["key_id"], "KALSHI_PRIVATE_KEY_FILE": there["key_file"]}
    code, words = said(tmp_path, "check", "--probe", "--rest", there["rest"], "--ws", there["ws"], **key)
    assert code == 0 and "Ready to trade." in words, words
