"""Between a submitter and slurmrestd: hands requests on, but for jobs of certain names not the answer.

  between.py LISTEN PORT UPSTREAM_HOST UPSTREAM_PORT AWAY

A submission of a job "lost-…" reaches Slurm, its answer is thrown away; one of "late-…" reaches Slurm 20 s after its sender was
cut off. Each name once. As long as the file AWAY is there nobody gets through.
"""
import json
import os
import socketserver
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler

listen, port, host, upstream, away = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
seen = set()


class Between(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self, body):
        connection = HTTPConnection(host, upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def cut_off(self):
        self.close_connection = True
        self.connection.close()

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if os.path.exists(away):
            return self.cut_off()
        if self.path.endswith("/job/submit"):
            name = json.loads(body)["job"]["name"]
            first = name not in seen
            seen.add(name)
            if first and name.startswith("late-"):
                threading.Timer(20, self.forward, [body]).start()
                return self.cut_off()
            if first and name.startswith("lost-"):
                self.forward(body)
                return self.cut_off()
        status, answer = self.forward(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server((listen, port), Between).serve_forever()
