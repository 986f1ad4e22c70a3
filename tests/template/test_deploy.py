"""`sam deploy` and `sam delete`, against moto in place of AWS.

moto takes the code that SAM uploads, makes the stack's resources and deletes them. It does not run them.
"""

import copy
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import boto3
import pytest

from combinations import admitted, choices_of
from mutations import PROD
from packaging_rules import faults_of_executable, faults_of_zip
from sam import ROOT
from stack import Stack

STAGE = ROOT / "target/validate/stage"
# The numbers of processors in the header of an executable.
MACHINES = {"x86_64": 62, "arm64": 183}
ARCHITECTURE = os.environ.get("ARCH") or {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
LOG = ROOT / "target/validate/moto.log"
BUCKET = "code"

# Types of the template that moto's CloudFormation does not make: of these nothing is proved here but that they are
# valid. A test fails if it does make one.
UNKNOWN_TO_MOTO = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Stage",
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::QueryDefinition",
}


class Aws:
    """moto, with what its CloudFormation lacks, in a process of its own."""

    def __init__(self):
        server = ROOT / "deploy/test/moto_aws.py"
        log = LOG.open("w")
        self.process = subprocess.Popen([sys.executable, server], stdout=subprocess.PIPE, stderr=log, text=True)
        address = self.process.stdout.readline().strip()
        if not address:
            pytest.fail(f"moto does not start: {LOG.read_text()}", pytrace=False)
        # moto takes the part of a host's name before the first dot for a bucket, and localhost has none.
        self.url = address.replace("127.0.0.1", "localhost")

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url)

    def empty(self):
        """Forgets everything, but for a bucket for code."""
        urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"").close()
        self.client("s3").create_bucket(Bucket=BUCKET)

    def sam(self, *arguments):
        command = [Path(sys.executable).parent / "sam", *arguments]
        env = os.environ | {"AWS_ENDPOINT_URL": self.url}
        done = subprocess.run(command, cwd=STAGE, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).split("\nError: ", 1)[-1].split("\nTraceback", 1)[0]
            pytest.fail(f"sam {arguments[0]}: {said[:1500]}\nmoto's log: {LOG}", pytrace=False)

    def leftovers(self):
        """All that may cost something or be in the way of the next deployment."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        functions = self.client("lambda")
        alarms = self.client("cloudwatch").describe_alarms()
        dashboards = self.client("cloudwatch").list_dashboards()["DashboardEntries"]
        objects = self.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {
            "stacks": [it["StackName"] for it in stacks],
            "tables": self.client("dynamodb").list_tables()["TableNames"],
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "functions": [it["FunctionName"] for it in functions.list_functions()["Functions"]],
            "mappings": [it["UUID"] for it in functions.list_event_source_mappings()["EventSourceMappings"]],
            "log groups": [it["logGroupName"] for it in self.client("logs").describe_log_groups()["logGroups"]],
            "roles": [it["RoleName"] for it in self.client("iam").list_roles()["Roles"]],
            "topics": [it["TopicArn"] for it in self.client("sns").list_topics()["Topics"]],
            "alarms": [it["AlarmName"] for kind in ("MetricAlarms", "CompositeAlarms") for it in alarms.get(kind, [])],
            "dashboards": [it["DashboardName"] for it in dashboards],
            # SAM finds the template that it uploaded by its checksum, and moto gives back another: a translated one.
            "code": [it["Key"] for it in objects if not it["Key"].endswith(".template")],
        }


@pytest.fixture(scope="module")
def aws():
    LOG.parent.mkdir(parents=True, exist_ok=True)
    aws = Aws()
    try:
        yield aws
    finally:
        aws.process.kill()
        aws.process.wait()


@pytest.fixture(scope="module")
def stage(stacks):
    """A folder with template.yaml and the binaries where it looks for them, and without samconfig.yaml."""
    if ARCHITECTURE not in MACHINES:
        pytest.fail(f"ARCH={ARCHITECTURE}: it may be {' or '.join(MACHINES)}", pytrace=False)
    for function in stacks[0].functions():
        crate = stacks[0].crate(function)
        binary = ROOT / "target/lambda" / crate / "bootstrap"
        if not binary.exists():
            pytest.fail(f"target/lambda has no binary of {crate}: run `make build` first", pytrace=False)
        for fault in faults_of_executable(binary.read_bytes(), ARCHITECTURE):
            pytest.fail(f"{binary.relative_to(ROOT)} {fault}", pytrace=False)
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "target").mkdir(parents=True)
    (STAGE / "target/lambda").symlink_to(ROOT / "target/lambda")
    shutil.copy(ROOT / "template.yaml", STAGE)


def every_option(template):
    """A value other than the default for whatever decides something, prod left out."""
    values = {name: values[-1] for name, values in choices_of(template).items() if name != "Stage"}
    return admitted(template, values, set(values))


@pytest.fixture(scope="module", params=["the defaults", "every option", "production"])
def deployed(request, aws, stage, template, code):
    """A stack that `sam deploy` has made."""
    parameters = {"the defaults": {}, "every option": every_option(template), "production": PROD}
    parameters = parameters[request.param] | {"Architecture": ARCHITECTURE}
    aws.empty()
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    aws.sam(
        "deploy", "--stack-name", "shop", "--s3-bucket", BUCKET, "--capabilities", "CAPABILITY_IAM",
        "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", *overrides,
    )  # fmt: skip
    return Stack(template, parameters, code)


def test_sam_deploy_makes_every_resource_that_moto_knows(aws, deployed):
    made = aws.client("cloudformation").describe_stack_resources(StackName="shop")["StackResources"]
    # By type: SAM names a version by the address of its code. moto lists a resource that it does not know without a type.
    made = Counter(it["ResourceType"] for it in made if "ResourceType" in it)
    assert made == Counter(it["Type"] for it in deployed.resources.values() if it["Type"] not in UNKNOWN_TO_MOTO)


def test_each_uploaded_zip_is_one_executable_for_the_stacks_processor(aws, deployed):
    template = aws.client("cloudformation").get_template(StackName="shop")["TemplateBody"]
    template = template if isinstance(template, dict) else json.loads(template)
    faults = []
    for name, function in deployed.functions().items():
        code = template["Resources"][name]["Properties"]["Code"]
        data = aws.client("s3").get_object(Bucket=code["S3Bucket"], Key=code["S3Key"])["Body"].read()
        [architecture] = function["Architectures"]
        faults += [f"{name}: {it}" for it in faults_of_zip(data, architecture)]
    assert deployed.functions()
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_sam_delete_leaves_nothing(aws, deployed):
    tables = aws.client("dynamodb")
    if deployed.parameters["Stage"] == "prod":
        for name in tables.list_tables()["TableNames"]:
            assert tables.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]
            # As a person has to who takes production down.
            tables.update_table(TableName=name, DeletionProtectionEnabled=False)
    aws.sam("delete", "--stack-name", "shop", "--no-prompts", "--region", "us-east-1")
    assert {kind: it for kind, it in aws.leftovers().items() if it} == {}


def test_the_list_of_what_moto_does_not_know_is_no_longer_than_needed(stacks):
    assert UNKNOWN_TO_MOTO - {it["Type"] for stack in stacks for it in stack.resources.values()} == set()


def test_a_resource_that_is_retained_is_seen_to_be_left(aws, template):
    resources = copy.deepcopy(template["Resources"])
    resources = {name: resources[name] for name in ("OrdersTable", "OrdersQueue", "OrdersDeadLetterQueue")}
    for name in ("OrdersTable", "OrdersQueue"):
        resources[name]["DeletionPolicy"] = "Retain"
    small = {key: template[key] for key in ("Parameters", "Conditions")} | {"Resources": resources}
    aws.empty()
    stacks = aws.client("cloudformation")
    stacks.create_stack(StackName="kept", TemplateBody=json.dumps(small))
    stacks.delete_stack(StackName="kept")
    assert {kind: len(it) for kind, it in aws.leftovers().items() if it} == {"tables": 1, "queues": 1}


def zipped(files):
    """A zip of these: contents and mode by name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, (contents, mode) in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, contents)
    return data.getvalue()


def elf(architecture):
    return b"\x7fELF\x02\x01" + bytes(12) + MACHINES[architecture].to_bytes(2, "little")


GOOD = {"bootstrap": (elf("arm64"), 0o755)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param(files, words, id=fault)
        for fault, files, words in [
            ("a second file", GOOD | {"bootstrap.d": (b"", 0o644)}, "not just bootstrap"),
            ("a file of another name", {"get-product": GOOD["bootstrap"]}, "not just bootstrap"),
            ("a file that may not be executed", {"bootstrap": (elf("arm64"), 0o644)}, "may not be executed"),
            ("the other processor", {"bootstrap": (elf("x86_64"), 0o755)}, "is built for x86_64"),
            ("a script", {"bootstrap": (b"#!/bin/sh\n" + bytes(20), 0o755)}, "no 64-bit Linux executable"),
            ("a program for macOS", {"bootstrap": (b"\xcf\xfa\xed\xfe" + bytes(20), 0o755)}, "no 64-bit Linux"),
            ("more bytes than wanted", {"bootstrap": (elf("arm64") + bytes(2_200_000), 0o755)}, "bytes"),
        ]
    ],
)
def test_objects_to_a_zip_with(files, words):
    assert any(words in it for it in faults_of_zip(zipped(files), "arm64"))
    assert list(faults_of_zip(zipped(GOOD), "arm64")) == []
