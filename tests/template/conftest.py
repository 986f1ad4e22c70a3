"""One line a check with its time, then the details of those that failed."""

import os

import pytest

import sam
from combinations import combinations
from resolved import Refused
from stack import Stack, read_code

# No program that a check starts may find the account of the person who runs it.
for name in [it for it in os.environ if it.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nobody",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "localhost,127.0.0.1",
    "SAM_CLI_TELEMETRY": "0",
    "SAM_CLI_POLL_DELAY": "0.5",  # s between looks at a deployment, which AWS would throttle; 5 by default
}

SECONDS = pytest.StashKey()


@pytest.fixture(scope="session")
def template():
    """template.yaml."""
    return sam.read()


@pytest.fixture(scope="session")
def code():
    return read_code()


@pytest.fixture(scope="session")
def stacks(template, code):
    """What each combination of conditions deploys; the defaults are the first."""
    try:
        return [Stack(template, parameters, code) for parameters in combinations(template)]
    except (sam.Refused, Refused, ValueError) as error:
        pytest.exit(f"template.yaml: {error}", 1)


def pytest_report_teststatus(report):
    """No dots: lines follow."""
    is_result = report.when == "call" or not report.passed
    return report.outcome if is_result else "", "", ""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    item.stash[SECONDS] = item.stash.get(SECONDS, 0) + report.duration
    if report.when == "call" or report.outcome != "passed":
        failed = " (in its set-up)" if report.when == "setup" else ""
        result = {"passed": "ok  ", "skipped": "skip"}.get(report.outcome, "FAIL")
        function = item.originalname.removeprefix("test_")
        case = f": {item.callspec.id}" if hasattr(item, "callspec") else ""
        name = (function + case).replace("_", " ")
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line(f"{result} {item.stash[SECONDS]:6.1f} s  {name}{failed}", red=report.failed)
