"""What all Python services have: an answer on /health."""
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def handler(service, answer):
    """A handler that answers a path with what answer(path) returns, as JSON; None is "not found"."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            health = {"service": service, "status": "ok"}
            body = health if self.path == "/health" else answer(self.path)
            text = json.dumps(body).encode()
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


def serve(service, answer):
    print(f"{service} listens on :8080")
    ThreadingHTTPServer(("", 8080), handler(service, answer)).serve_forever()
