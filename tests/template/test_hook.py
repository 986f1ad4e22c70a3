"""CheckNewVersions, which production asks before it gives requests to a new version: its code as it stands in
template.yaml, the shop's own binaries as the new versions, and moto for DynamoDB."""

import io
import json
import platform
import sys
from types import SimpleNamespace

import pytest

from lambdas import Environment
from mutations import PROD
from packaging_rules import faults_of_executable
from sam import ROOT
from stack import Stack
from test_deploy import ARCHITECTURE, LOG, Aws

HOOK = "CheckNewVersions"
CALL = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e-1"}


@pytest.fixture(scope="module")
def stack(template, code):
    return Stack(template, PROD, code)


class Hook:
    """The hook's code with clients of ours: `invoke` answers in place of Lambda."""

    def __init__(self, stack, monkeypatch, invoke):
        properties = stack.all_functions()[HOOK]
        self.reported = []
        # As Lambda does: the version's ARN in a variable. Here the name of the function will do.
        for name in properties["Environment"]["Variables"]:
            monkeypatch.setenv(name, f"version of {name}")
        lambda_ = SimpleNamespace(invoke=lambda FunctionName, Payload: invoke(FunctionName.split()[-1], Payload))
        codedeploy = SimpleNamespace(
            put_lifecycle_event_hook_execution_status=lambda **report: self.reported.append(report)
        )
        clients = {"lambda": lambda_, "codedeploy": codedeploy}
        monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=lambda name, **_: clients[name]))
        self.module = {}
        exec(properties["Code"]["ZipFile"], self.module)

    def status(self):
        self.module["handler"](CALL, None)
        [report] = self.reported
        assert report["deploymentId"] == "d-1" and report["lifecycleEventHookExecutionId"] == "e-1"
        return report["status"]


@pytest.fixture
def hook(stack, monkeypatch):
    return lambda invoke: Hook(stack, monkeypatch, invoke)


def answer(value, **more):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"Payload": io.BytesIO(text), **more}


# ── With the shop's own binaries ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def aws():
    LOG.parent.mkdir(parents=True, exist_ok=True)
    aws = Aws()
    yield aws
    aws.process.kill()
    aws.process.wait()


@pytest.fixture
def versions(stack, aws):
    """Starts a function's binary for its first event: `invoke`, with variables in place of the template's."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if machine != ARCHITECTURE:
        pytest.skip(f"binaries for {ARCHITECTURE} do not run on {machine}")
    aws.empty()
    for name, table in stack.of("DynamoDB::Table").items():
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        aws.client("dynamodb").create_table(TableName=name, **{key: table[key] for key in wanted if key in table})
    running = {}

    def started(function, other):
        binary = ROOT / "target/lambda" / stack.crate(function) / "bootstrap"
        if not binary.exists() or any(faults_of_executable(binary.read_bytes(), ARCHITECTURE)):
            pytest.fail(f"target/lambda has no binary of {function} for {ARCHITECTURE}: run `make build` first")
        set_ = stack.functions()[function]["Environment"]["Variables"]
        names = {name: it["Ref"] if isinstance(it, dict) else it for name, it in set_.items()}
        endpoints = {f"AWS_ENDPOINT_URL_{service}": aws.url for service in ("DYNAMODB", "SQS")}
        if "ORDERS_QUEUE_URL" in names:
            names["ORDERS_QUEUE_URL"] = f"{aws.url}/123456789012/{names['ORDERS_QUEUE_URL']}"
        return Environment(stack.crate(function), names | endpoints | other)

    def invoke_with(other):
        def invoke(function, payload):
            if function not in running:
                running[function] = started(function, other)
            body, is_error = running[function].invoke(payload.encode())
            return answer(body, **({"FunctionError": "Unhandled"} if is_error else {}))

        return invoke

    yield invoke_with
    for environment in running.values():
        environment.end()


def test_good_versions_pass_and_leave_nothing_behind(hook, versions, aws, capsys):
    invoke, left = versions({}), []

    def invoke_and_look(function, payload):
        answered = invoke(function, payload)
        tables = ("ProductsTable", "OrdersTable")
        items = [item for table in tables for item in aws.client("dynamodb").scan(TableName=table)["Items"]]
        left.extend((function, item) for item in items)  # at once: a DELETE that follows would clean up
        return answered

    status = hook(invoke_and_look).status()
    assert (json.loads(capsys.readouterr().out)["objections"], status, left) == ([], "Succeeded", [])


@pytest.mark.parametrize(
    ("variable", "blind"),
    [
        # A role that may not, or a name that is wrong: who talks to the table answers neither 200 nor 404.
        ("PRODUCTS_TABLE", {"GetOrder", "ProcessOrders"}),
        ("ORDERS_TABLE", {"GetProduct", "ListProducts", "BatchGetProducts", "PutProduct", "DeleteProduct", "PlaceOrder", "ProcessOrders"}),
    ],
)  # fmt: skip
def test_a_version_that_does_not_reach_its_table_fails(hook, versions, stack, capsys, variable, blind):
    assert hook(versions({variable: "NoSuchTable"})).status() == "Failed"
    objections = json.loads(capsys.readouterr().out)["objections"]
    assert {it.split()[0] for it in objections} == set(stack.functions()) - blind, objections


def test_a_version_that_does_not_start_fails(hook, versions, capsys):
    assert hook(versions({"METRICS_NAMESPACE": ""})).status() == "Failed"
    objections = json.loads(capsys.readouterr().out)["objections"]
    assert [it.partition(" gives no answer: Unhandled: ")[0] for it in objections] == ["PlaceOrder", "ProcessOrders"]


# ── With answers of ours ──────────────────────────────────────────────────────────────────────────────


def expected(hook, function):
    requests = hook.module["REQUESTS"]
    return {"statusCode": requests[function][-1]} if function in requests else {"batchItemFailures": []}


def test_every_function_is_asked_and_a_wrong_answer_of_any_one_fails(hook, stack):
    for wrong in [None, *stack.functions()]:
        asked = []

        def invoke(function, payload):
            asked.append(function)
            return answer({"statusCode": 500} if function == wrong else expected(tried, function))

        tried = hook(invoke)
        assert tried.status() == ("Succeeded" if wrong is None else "Failed"), wrong
        assert sorted(asked) == sorted(stack.functions())


def test_a_call_that_Lambda_refuses_fails(hook, stack, capsys):
    def invoke(function, payload):
        raise RuntimeError("AccessDeniedException")

    assert hook(invoke).status() == "Failed"
    assert len(json.loads(capsys.readouterr().out)["objections"]) == len(stack.functions())
