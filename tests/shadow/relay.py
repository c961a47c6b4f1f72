"A relay between a client and an exchange: it logs every request line, and can lose the exchange for a while"
import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n(.*?)\r\n\r\n", re.DOTALL)


class Relay:
    "Passes bytes on, one way and the other"

    def __init__(self, rest: str):
        at = urlsplit(rest)
        self._to = at.hostname or "", at.port or 80
        self.requests: list[tuple[str, str, bool]] = []  # verb, path, whether it opens a stream
        self.bytes_up = 0  # on streams, after the handshake: commands of subscriptions
        self._lost = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def rest(self) -> str: return f"http://127.0.0.1:{self.port}/trade-api/v2"

    @property
    def ws(self) -> str: return f"ws://127.0.0.1:{self.port}/trade-api/ws/v2"

    @property
    def verbs(self) -> set[str]: return {verb for verb, _, _ in self.requests}

    def lose(self) -> None:
        "Cut every connection, and refuse new ones"
        def cut() -> None:
            self._lost = True
            for w in list(self._writers): w.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def find(self) -> None: self._loop.call_soon_threadsafe(setattr, self, "_lost", False)

    def stop(self) -> None:
        self.lose()
        if self._server: self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._lost: return writer.transport.abort()
        try: there, back = await asyncio.open_connection(*self._to)
        except OSError: return writer.transport.abort()
        self._writers |= {writer, back}
        tasks = [asyncio.create_task(self._up(reader, back)), asyncio.create_task(self._pump(there, writer))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks: task.cancel()
        for w in (writer, back):
            self._writers.discard(w)
            w.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting, stream = b"", False
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if stream: self.bytes_up += len(data)
                else: waiting += data
                while not stream and (found := REQUEST.search(waiting)):
                    stream = b"upgrade: websocket" in found[3].lower()
                    self.requests.append((found[1].decode(), found[2].decode(), stream))
                    waiting = waiting[found.end():]
                writer.write(data)
                await writer.drain()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()


@contextmanager
def relayed(rest: str) -> Iterator[Relay]:
    "A relay before the exchange at that address"
    relay = Relay(rest)
    relay.start()
    try: yield relay
    finally: relay.stop()
