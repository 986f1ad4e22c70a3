"""The shop's own binaries, each in one execution environment of a small Lambda: events go in, answers come out.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import queue
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sam import ROOT

# Seconds for an answer, far above what one takes: a busy machine is no fault of a function.
PATIENCE = 30


class Environment:
    """One running `bootstrap`."""

    def __init__(self, crate, variables):
        self.events, self.answers = queue.Queue(), queue.Queue()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), runtime_api(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{self.server.server_port}"
        lambda_ = {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": crate,
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_REGION": "us-east-1",
        }
        credentials = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        binary = ROOT / "target/lambda" / crate / "bootstrap"
        self.process = subprocess.Popen(
            [binary], env=lambda_ | credentials | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def invoke(self, payload):
        """The answer's bytes, and whether it is an error."""
        self.events.put(payload)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return self.answers.get(timeout=0.05)
            except queue.Empty:
                if self.process.poll() is not None:
                    return json.dumps({"errorType": "Runtime.ExitError"}).encode(), True
        raise TimeoutError

    def end(self):
        self.process.kill()
        self.process.wait()
        self.server.shutdown()
        self.server.server_close()


def runtime_api(environment):
    class RuntimeApi(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # invocation/next
            payload = environment.events.get()
            headers = {
                "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + PATIENCE) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:f:1",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
            }
            self.answer(200, payload, headers)

        def do_POST(self):  # invocation/<id>/response, invocation/<id>/error or init/error
            body = (
                self.rfile.read(int(self.headers["Content-Length"]))
                if "Content-Length" in self.headers
                else self.chunks()
            )
            environment.answers.put((body, self.path.endswith("/error")))
            self.answer(202, b"{}", {})

        def chunks(self):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return RuntimeApi
