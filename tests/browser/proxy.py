"""A wire between the browser and the service that can be cut and joined again: a TCP proxy in a thread."""

import asyncio
import threading


class Wire:
    """Forwards connections on a port of its own to `target` (host, port)."""

    def __init__(self, target):
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._tasks = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = 0
        self.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def join(self):
        """Takes connections, on the same port as before."""
        self._do(self._listen())

    def cut(self):
        """Ends all connections and refuses new ones."""
        self._do(self._stop())

    def _do(self, work):
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self):
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _forward(self, reader, writer):
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))
        finally:
            to_writer.close()


async def _pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
