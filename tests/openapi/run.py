"""Starts the shop, holds it against openapi.yaml with schemathesis, and stops it: `make openapi-test`."""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEBUG = ROOT / "target/debug"
WORK = ROOT / "target/openapi-test"
START_TIMEOUT_S = 60  # as in the load test


def stage():
    """Lays out the functions that cargo has built as template.yaml expects them."""
    for main in ROOT.glob("functions/*/src/main.rs"):
        name = main.parents[1].name
        folder = WORK / "lambda" / name
        folder.mkdir(parents=True)
        (folder / "bootstrap").symlink_to(DEBUG / name)


def start():
    """The host, once it answers, and the address of the API."""
    ready = WORK / "ready.json"
    command = [DEBUG / "local", "--port", "0", "--control-port", "0", "--ready-file", ready]
    command += ["--code-dir", WORK / "lambda", "--log-dir", WORK / "logs"]
    # schemathesis sends more than the throttle lets through.
    throttle = ["ThrottleRate=10000", "ThrottleBurst=5000", "OrderThrottleRate=10000", "OrderThrottleBurst=5000"]
    for parameter in ["CatalogueWrites=open", *throttle]:
        command += ["--parameter", parameter]
    log = WORK / "local.log"
    host = subprocess.Popen(command, cwd=ROOT, stderr=log.open("w"))
    give_up = time.monotonic() + START_TIMEOUT_S
    while not ready.exists():
        if host.poll() is not None or time.monotonic() > give_up:
            host.kill()
            sys.exit(f"the shop does not start: {log.read_text()}")
        time.sleep(0.05)
    return host, json.loads(ready.read_text())["api_url"]


def put_product(api_url, product_id):
    """The products of the examples: without them no order would ever be accepted."""
    product = {"name": product_id, "category": "lighting", "price_cents": 2499, "stock": 1_000_000}
    request = urllib.request.Request(
        f"{api_url}/products/{product_id}",
        method="PUT",
        data=json.dumps(product).encode(),
        headers={"content-type": "application/json"},
    )
    urllib.request.urlopen(request).close()


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    stage()
    host, api_url = start()
    try:
        for product_id in ("lamp", "chair"):
            put_product(api_url, product_id)
        schemathesis = [Path(sys.executable).parent / "schemathesis"]
        schemathesis += ["--config-file", ROOT / "tests/openapi/schemathesis.toml"]
        schemathesis += ["run", ROOT / "openapi.yaml", "--url", api_url, *sys.argv[1:]]
        sys.exit(subprocess.run(schemathesis, cwd=WORK, check=False).returncode)
    finally:
        host.send_signal(signal.SIGTERM)
        host.wait()


main()
