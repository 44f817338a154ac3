#!/usr/bin/env python3
"""An HTTP/1.1 proxy in front of an S3 server: adds a delay to every request and counts them. For measuring only.

  proxy.py LISTEN-PORT UPSTREAM-PORT DELAY-MS COUNTS-FILE

Requests on one connection are answered one after the other, as HTTP/1.1 does; connections are independent, so that
requests in flight at once wait at once. Bodies go from socket to socket within the kernel: what is measured shares the
machine with this. The counts (method and class of key, bytes each way) are written as JSON on SIGTERM.
"""
import collections, contextlib, fcntl, json, os, signal, socket, sys, threading, time, urllib.parse

HEAD_BYTES_MAX = 64 * 1024
PIPE_BYTES = 1 << 20


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


class HungUp(Exception):
    """Either side has: so do we, on both."""


class Side:
    """One end of a connection, with what has been read of it and not passed on."""

    def __init__(self, sock):
        self.sock, self.ahead = sock, b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def until(self, mark):
        while mark not in self.ahead:
            piece = self.sock.recv(HEAD_BYTES_MAX)
            if not piece or len(self.ahead) > HEAD_BYTES_MAX:
                raise HungUp
            self.ahead += piece
        text, _, self.ahead = self.ahead.partition(mark)
        return text + mark


class Pipe:
    """Through which bytes go from one socket to another without being copied out of the kernel."""

    def __init__(self):
        self.out, self.into = os.pipe()
        fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self):
        os.close(self.out)
        os.close(self.into)

    def carry(self, source, target, length):
        ahead, source.ahead = source.ahead[:length], source.ahead[length:]
        target.sock.sendall(ahead)
        left = length - len(ahead)
        while left:
            got = os.splice(source.sock.fileno(), self.into, min(PIPE_BYTES, left))
            if not got:
                raise HungUp
            left -= got
            while got:
                got -= os.splice(self.out, target.sock.fileno(), got)
        return length


def pass_body(pipe, source, target, length, chunked):
    if not chunked:
        return pipe.carry(source, target, length)
    passed = 0
    while True:
        line = source.until(b"\r\n")
        size = int(line.split(b";")[0], 16)
        target.sock.sendall(line)
        passed += pipe.carry(source, target, size + 2)
        if size == 0:
            return passed


class Proxy:
    def __init__(self, upstream_port, delay_s):
        self.upstream_port, self.delay_s, self.lock = upstream_port, delay_s, threading.Lock()
        self.requests, self.sent, self.received = collections.Counter(), 0, 0

    def serve(self, sock):
        upstream, pipe = socket.create_connection(("127.0.0.1", self.upstream_port)), Pipe()
        with sock, upstream, contextlib.closing(pipe), contextlib.suppress(HungUp, OSError):
            client, server = Side(sock), Side(upstream)
            while self.one_request(client, server, pipe):
                pass

    def one_request(self, client, server, pipe):
        head = client.until(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        self.count(method, target, 0, 0)
        time.sleep(self.delay_s)
        server.sock.sendall(head)
        if b"100-continue" in head.lower():
            client.sock.sendall(server.until(b"\r\n\r\n"))
        sent = pass_body(pipe, client, server, *body_length(head))
        answer = server.until(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        client.sock.sendall(answer)
        received = pass_body(pipe, server, client, *body_length(answer)) if method != "HEAD" and status not in (204, 304) else 0
        self.count(None, None, sent, received)
        return b"connection: close" not in answer.lower()

    def count(self, method, target, sent, received):
        with self.lock:
            if method:
                self.requests[kind(method, target)] += 1
            self.sent, self.received = self.sent + sent, self.received + received


def main():
    listen_port, upstream_port, delay_ms, counts_file = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    proxy = Proxy(upstream_port, delay_ms / 1000)

    def end(*_):
        with open(counts_file, "w") as out:
            json.dump(dict(requests=proxy.requests, sent=proxy.sent, received=proxy.received), out)
        os._exit(0)                                     # connections that are open have nothing to finish

    signal.signal(signal.SIGTERM, end)
    with socket.create_server(("127.0.0.1", listen_port), backlog=256) as listener:
        while True:
            threading.Thread(target=proxy.serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
