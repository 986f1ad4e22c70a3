"""A host without functions, as a process of its own, and boto3's clients for it."""

import json
import signal
import subprocess
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60  # as in the load test
TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Jobs:
    Type: AWS::SQS::Queue
"""


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """What the ready file says."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "template.yaml").write_text(TEMPLATE)
    ready, log = folder / "ready.json", folder / "local.log"
    command = [ROOT / "target/debug/local", "--port", "0", "--control-port", "0", "--ready-file", ready]
    process = subprocess.Popen(command, cwd=folder, stderr=log.open("w"))
    give_up = time.monotonic() + START_TIMEOUT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            process.kill()
            pytest.exit(f"the host does not start: {log.read_text()}")
        time.sleep(0.02)
    yield json.loads(ready.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, log.read_text()


@pytest.fixture(scope="session")
def session_arguments(host):
    """For `boto3.client` and `boto3.resource`."""
    return {
        "endpoint_url": host["aws_endpoint_url"],
        "verify": host["ca_file"],
        "region_name": "us-east-1",
        "aws_access_key_id": "boto3",
        "aws_secret_access_key": "secret",
        "config": Config(retries={"total_max_attempts": 1}),
    }


@pytest.fixture(scope="session")
def sqs(session_arguments):
    return boto3.client("sqs", **session_arguments)


@pytest.fixture(scope="session")
def sqs_resource(session_arguments):
    return boto3.resource("sqs", **session_arguments)


@pytest.fixture(scope="session")
def dynamodb(session_arguments):
    return boto3.client("dynamodb", **session_arguments)


@pytest.fixture(scope="session")
def resource(session_arguments):
    return boto3.resource("dynamodb", **session_arguments)
