#!/usr/bin/env python3
"""An HTTP/1.1 proxy in front of an S3 server: adds a delay to every request and counts them. For measuring only.

  proxy.py LISTEN-PORT UPSTREAM-PORT DELAY-MS COUNTS-FILE

Requests on one connection are answered one after the other, as HTTP/1.1 does; connections are independent, so that
requests in flight at once wait at once. The counts (method and class of key, bytes each way) are written as JSON on SIGTERM.
"""
import asyncio, collections, json, signal, sys, urllib.parse

HEAD_BYTES_MAX = 64 * 1024
PIECE_BYTES = 256 * 1024


def kind(method, target):
    parts = urllib.parse.urlsplit(target)
    if method == "GET" and ("list-type" in parts.query or not parts.path.strip("/")):
        return "LIST"
    if method == "POST":
        return "POST delete" if "delete" in parts.query else "POST multipart"
    return method + (" part" if "partNumber" in parts.query else "")


def body_length(head):
    """(bytes, chunked) of a message from its head."""
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding" and b"chunked" in value.lower():
            return 0, True
    return length, False


async def pass_body(reader, writer, length, chunked):
    passed = 0
    if chunked:
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            writer.write(line)
            passed += await pass_body(reader, writer, size + 2, False)
            if size == 0:
                return passed
    while passed < length:
        piece = await reader.read(min(PIECE_BYTES, length - passed))
        if not piece:
            raise ConnectionResetError("a message ended early")
        writer.write(piece)
        await writer.drain()
        passed += len(piece)
    return passed


class Proxy:
    def __init__(self, upstream_port, delay_s):
        self.upstream_port, self.delay_s = upstream_port, delay_s
        self.requests, self.sent, self.received = collections.Counter(), 0, 0

    async def serve(self, reader, writer):
        upstream_writer = None
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port, limit=HEAD_BYTES_MAX)
            while await self.one_request(reader, writer, upstream_reader, upstream_writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass                                        # either side hung up: so do we, on both
        finally:
            writer.close()
            if upstream_writer:
                upstream_writer.close()

    async def one_request(self, reader, writer, upstream_reader, upstream_writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        self.requests[kind(method, target)] += 1
        await asyncio.sleep(self.delay_s)
        upstream_writer.write(head)
        if b"100-continue" in head.lower():
            interim = await upstream_reader.readuntil(b"\r\n\r\n")
            writer.write(interim)
            await writer.drain()
        self.sent += await pass_body(reader, upstream_writer, *body_length(head))
        await upstream_writer.drain()
        answer = await upstream_reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        writer.write(answer)
        if method != "HEAD" and status not in (204, 304):
            self.received += await pass_body(upstream_reader, writer, *body_length(answer))
        await writer.drain()
        return b"connection: close" not in answer.lower()


async def main():
    listen_port, upstream_port, delay_ms, counts_file = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    proxy = Proxy(upstream_port, delay_ms / 1000)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", listen_port, limit=HEAD_BYTES_MAX * 4)
    async with server:
        await ended.wait()
        with open(counts_file, "w") as out:
            json.dump(dict(requests=proxy.requests, sent=proxy.sent, received=proxy.received), out)


if __name__ == "__main__":
    asyncio.run(main())
