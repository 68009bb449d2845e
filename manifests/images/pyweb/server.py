"""The demo server in Python: the same answers as web/web.c for /, /slow, /exit, /healthz; finishes requests on SIGTERM."""
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

POD = os.environ.get("POD_NAME") or socket.gethostname()
NODE = os.environ.get("NODE_NAME", "unknown")
VERSION = os.environ.get("VERSION", "1")
ending = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if parts.path == "/slow":
            time.sleep(int(query.get("ms", ["1000"])[0]) / 1000)
        elif parts.path == "/exit":
            os._exit(int(query.get("code", ["0"])[0]))
        text = f"pod={POD} node={NODE} version={VERSION} path={parts.path}\n".encode()
        if parts.path == "/healthz":
            text = b"ok\n"
        elif parts.path == "/echo":
            text = body
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        if ending.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def log_message(self, form, *args):
        print(f"{self.address_string()} {form % args}", flush=True)


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = False


def main():
    server = Server(("0.0.0.0", int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PORT", "80"))), Handler)

    def end(*_):
        ending.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    print(f"pyweb {VERSION}: pod {POD} listens on port {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.1)


main()
