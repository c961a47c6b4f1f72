"Nothing that was given in confidence is ever printed, logged, recorded or sent, whatever goes wrong"
import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastcore.nbio import read_nb

from kalshi_mm.config import SettingsError, load_settings, settings_for_kill
from kalshi_mm.control.runtime import Running
from tests.sessions.process import environment, get, until
from tests.sessions.test_sessions import Start, exchange, said, start, trading

__all__ = ["exchange", "start"]
ROOT = Path(__file__).resolve().parents[2]
WORD = "hush-4711"  # a part of every address below


@pytest.fixture
def places() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    "A server that refuses every alert and takes every ping: its port, and (path, body) of what came"
    came: list[tuple[str, bytes]] = []

    class Place(http.server.BaseHTTPRequestHandler):
        def _take(self, status: int) -> None:
            came.append((self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0))))
            self.send_response(status)
            self.end_headers()

        def do_POST(self) -> None: self._take(400)
        def do_GET(self) -> None: self._take(500)
        def log_message(self, *words: Any) -> None: pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Place)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, came
    server.shutdown()
    server.server_close()


def key_lines(file: Path) -> list[str]:
    "The lines of a private key, without its frame"
    return [line for line in file.read_text().splitlines() if line and not line.startswith("-")]


def written(folder: Path) -> dict[str, bytes]:
    "What the files under a folder say, packed ones unpacked"
    def raw(p: Path) -> bytes:
        try: return gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes()
        except (OSError, EOFError): return p.read_bytes()

    return {str(p.relative_to(folder)): raw(p) for p in folder.rglob("*") if p.is_file()}


def betrayals(secrets: dict[str, str], texts: dict[str, bytes]) -> list[tuple[str, str]]:
    "(secret, place) of each secret that stands somewhere"
    return [(name, where) for where, text in texts.items() for name, secret in secrets.items() if secret.encode() in text]


def test_the_search_for_secrets_finds_them(tmp_path: Path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(f"x {WORD} y".encode()))
    assert betrayals({"word": WORD}, written(tmp_path)) == [("word", "a.gz")]


def test_a_whole_session_keeps_its_secrets(exchange, start: Start, tmp_path: Path, places):
    port, came = places
    login = ":".join(["proxy-user", f"{WORD}-proxy"])
    env = environment(
        tmp_path, KALSHI_API_KEY_ID=exchange["key_id"], KALSHI_PRIVATE_KEY_FILE=exchange["key_file"],
        KALSHI_REST_URL=exchange["rest"], KALSHI_WS_URL=exchange["ws"], MIN_SPREAD="2",
        http_proxy=f"http://{login}@127.0.0.1:9", no_proxy="127.0.0.1",
        ALERT_WEBHOOK_URL=f"http://127.0.0.1:{port}/{WORD}-webhook", ALERT_URLS=f"json://127.0.0.1:{port}/{WORD}-apprise",
        HEARTBEAT_URL=f"http://127.0.0.1:{port}/{WORD}-heartbeat",
    )
    process = start("run", "--control-port", "0", "--json", env=env)
    where = process.json("started")["started"]
    until(trading(where), "quotes")
    token = Path(where["token_file"]).read_text()
    secrets = {f"line {n} of the key": line for n, line in enumerate(key_lines(Path(exchange["key_file"])))}
    secrets |= {"a word of an address": WORD, "the control token": token}
    assert len(secrets) > 10
    texts: dict[str, str] = {}
    for command in (["check", "--alert"], ["kill"], ["replay", where["session"], "--answers"],
                    ["report", where["session"], "--out", "state/report.html"]):
        texts[" ".join(command)] = said(tmp_path, *command, **env)[1]
    status = get(f"{where['control']}/api/strategy/status", where)
    texts["snapshot"] = json.dumps(get(f"{where['control']}/api/snapshot", where))
    running = next(iter(Running.all(load_settings(None, {}, state_dir=tmp_path / "state"))))
    texts["notebook"] = repr(running.home) + str(running) + running._repr_html_()
    until(lambda: len({path for path, _ in came}) == 3, "something has come to every address")
    code, errors = process.end()
    assert code == 0 and {path.strip("/").removeprefix(f"{WORD}-") for path, _ in came} == {"webhook", "apprise", "heartbeat"}
    assert "killed" in texts["kill"] and "has not arrived" in texts["check --alert"], texts
    texts |= {"stdout": json.dumps(process.lines), "stderr": errors, "status": json.dumps(status)}
    log = Path(where["log"]).read_text()
    assert "could not be sent to the webhook (status 400)" in log and "heartbeat does not arrive (status 500)" in log
    everything = {name: text.encode() for name, text in texts.items()} | {f"to {path[:3]}": body for path, body in came}
    files = {name: text for name, text in written(tmp_path / "state").items() if not name.startswith("exchange/")}
    assert any(name.endswith(".gz") for name in files) and any(name.endswith("journal.db") for name in files)
    assert betrayals(secrets, everything | files) == []


def frame(text: str) -> str:
    "A text between the first and the last line of a key's file"
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().splitlines()
    return "\n".join([pem[0], text, pem[-1]])


BAD: dict[str, dict[str, str]] = {
    "a key with its frame": {"KALSHI_PRIVATE_KEY_FILE": frame("MC4CAQAw" + WORD)},
    "a key without it": {"KALSHI_PRIVATE_KEY_FILE": "MC4CAQAw" + f"{WORD}x" * 8},
    "a key as the id": {"KALSHI_API_KEY_ID": frame("MC4CAQAw" + WORD)},
    "a key as the environment": {"KALSHI_ENV": frame(WORD)},
    "a key as the series": {"TARGET_SERIES": frame(WORD)},
    "a webhook without its scheme": {"ALERT_WEBHOOK_URL": f"hooks.example.com/{WORD}"},
    "a heartbeat without its scheme": {"HEARTBEAT_URL": f"ping.example.com/{WORD}"},
    "an address of the exchange with a password": {"KALSHI_WS_URL": "wss://" + ":".join(["me", WORD]) + "@example.com/ws"},
    "an address with a password": {"KALSHI_REST_URL": "ftp://" + ":".join(["me", WORD]) + "@example.com/v2"},
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("how", ["environment", "file"])
def test_bad_input_is_refused_without_being_shown(name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = None
    if how == "environment":
        for setting, value in BAD[name].items(): monkeypatch.setenv(setting, value)
    else:
        file = tmp_path / ".env"
        file.write_text("".join(f"{setting}='{value}'\n" for setting, value in BAD[name].items()))
    with pytest.raises(SettingsError) as refused: load_settings(file)
    settings, wrong = settings_for_kill(file)
    assert next(iter(BAD[name])) in str(refused.value) and wrong
    assert WORD not in str(refused.value) + wrong and WORD not in str(refused.value.__cause__)
    assert not any(WORD in repr(value) for value in settings.model_dump(mode="json").values())


@pytest.mark.parametrize(("env", "why"), [
    ({"KALSHI_PRIVATE_KEY_FILE": frame("MC4CAQAw" + WORD)}, "the path of its file belongs here"),
    ({"ALERT_URLS": f"nosuch://{WORD}"}, "apprise doesn't understand address 1 of 1"),
])
def test_a_bad_start_ends_in_a_sentence_without_the_secret(env: dict[str, str], why: str, tmp_path: Path):
    code, text = said(tmp_path, "run", "--control-port", "0", **env)
    assert code == 1 and why in text and WORD not in text and "Traceback" not in text, text
    assert betrayals({"word": WORD}, written(tmp_path / "state")) == []


def test_no_notebook_stores_what_looks_like_a_secret():
    telling = ("PRIVATE" + " KEY-----", "#token=", "Bearer ", "hooks.slack.com/services/")
    for path in sorted((ROOT / "nbs").glob("**/*.ipynb")):
        outputs = json.dumps([c.get("outputs", []) for c in read_nb(path).cells if ".ipynb_checkpoints" not in path.parts])
        assert [word for word in telling if word in outputs] == [], path
