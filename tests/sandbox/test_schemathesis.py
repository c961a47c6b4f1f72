"""Requests that Kalshi's specification allows, and many that it doesn't, made up by schemathesis and sent to the sandbox.

Whatever comes, the answer is no server error, no exception is logged, and it has a shape that the specification or a recording
knows. They go over HTTP, each with a proper signature.
"""
import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from kalshi_mm.client.credentials import Credentials
from kalshi_mm.sandbox.rest import OPERATIONS
from tests.sandbox.kit import MARKETS, SPECS, needs_specs, rest_judge, running

pytestmark = needs_specs
EXAMPLES = 30  # of each operation and mode
LONGEST_URL = 8000  # beyond that the HTTP server itself refuses
STEADY: dict[str, Any] = {"deadline": None, "derandomize": True, "database": None}
KNOWN = sorted({(op.method, op.path) for op in OPERATIONS if op.name != "V1"})


@pytest.fixture(scope="module")
def schema() -> Any: return schemathesis.openapi.from_path(SPECS / "openapi.yaml")


class Signed(requests.auth.AuthBase):
    "Signs what goes out, after all quoting"

    def __init__(self, credentials: Credentials): self.credentials = credentials

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers.update(self.credentials.headers(str(r.method), urlsplit(str(r.url)).path))
        return r


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Signed]]:
    "Address of a sandbox in a thread, and a member's signature"
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    place: list[Any] = []

    async def serve() -> None:
        async with running(tmp_path_factory.mktemp("keys")) as (sandbox, members):
            ann = members["ann"]
            for n in range(4): await ann.place(MARKETS[n % 2].ticker, ("bid", "ask")[n // 2], ("0.30", "0.60")[n // 2], "10")
            key = sandbox.keys.accounts["ann"]
            place.extend((f"{ann.root}/trade-api/v2", Signed(Credentials.load(key.key_id, key.key_file))))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield place[0], place[1]
    loop.call_soon_threadsafe(over.set)
    thread.join(20)
    loop.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
@pytest.mark.parametrize(("method", "path"), KNOWN, ids=[f"{m} {p}" for m, p in KNOWN])
def test_no_request_is_too_much(
    schema: Any, exchange: tuple[str, Signed], caplog: pytest.LogCaptureFixture, method: str, path: str, mode: GenerationMode
):
    takes = rest_judge().document["paths"][path][method.lower()].keys() & {"parameters", "requestBody"}
    if mode is GenerationMode.NEGATIVE and not takes: return  # nothing about it could be wrong
    url, signed = exchange
    operation, session = schema[path][method], requests.Session()
    session.trust_env = False

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck), **STEADY)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        request = requests.Request(**case.as_transport_kwargs(base_url=url), auth=signed).prepare()
        assume(len(asked := str(request.url)) < LONGEST_URL)
        response = session.send(request, timeout=10)
        kind = response.headers.get("Content-Type", "")
        assert response.status_code == 204 or kind.startswith("application/json"), (asked, response.text[:200])
        rest_judge().answer(method, urlsplit(asked).path, response.status_code, response.json() if response.content else None)

    with caplog.at_level(logging.WARNING), suppress(Unsatisfiable): check()  # any text may be a ticker: none is forbidden
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_each_operation_is_in_the_specification(schema: Any):
    there = {(op.ok().method.upper(), op.ok().path) for op in schema.get_all_operations()}
    assert set(KNOWN) <= there
    assert Path(SPECS / "openapi.yaml").exists()
