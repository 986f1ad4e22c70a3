"""What the tools of AWS and of others say of template.yaml and of what it becomes."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import sam
from sam import ROOT
from stack import Stack

BIN = Path(sys.executable).parent
WORK = ROOT / "target/validate"


def run(*command, cwd=ROOT):
    return subprocess.run([BIN / command[0], *command[1:]], cwd=cwd, capture_output=True, text=True, check=False)


def check(*command):
    """Runs a linter in the project's folder, where its configuration is."""
    done = run(*command)
    if done.returncode != 0:
        pytest.fail(f"{command[0]}:\n{done.stdout}{done.stderr}", pytrace=False)


def written(folder, documents):
    """Writes each different document into a folder of its own; gives the files."""
    folder = WORK / folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts = dict.fromkeys(json.dumps(it, indent=1) for it in documents)
    files = [folder / f"{number}.json" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return files


def broken(template, change):
    """A copy of template.yaml that `change` has broken, in a file."""
    template = copy.deepcopy(template)
    change(template)
    return written("broken", [template])[0]


def test_sam_validate_and_its_linter_accept_the_template():
    check("sam", "validate", "--lint")


def test_cfn_lint_accepts_the_templates_and_the_role_that_deploys():
    check("cfn-lint")  # its configuration names all


def lint(*files):
    """What cfn-lint finds, by the check's id, without the project's configuration."""
    done = run("cfn-lint", "--format", "json", "--regions", "us-east-1", "--", *files, cwd=WORK)
    found = {}
    for it in json.loads(done.stdout):
        id_, line = it["Rule"]["Id"], it["Location"]["Start"]["LineNumber"]
        found.setdefault(id_, []).append(f"{id_} {it['Message']}: {it['Filename']}:{line}")
    return found


# SAM has read these, and what it makes does without; `nothing_is_declared_that_nothing_reads` looks at template.yaml.
READ_BY_SAM = {"W2001", "W7001"}


def test_the_SAM_translator_takes_each_combination_and_cfn_lint_what_it_makes(stacks):
    suppressed = set(yaml.safe_load((ROOT / ".cfnlintrc.yaml").read_text())["ignore_checks"])
    found = lint(ROOT / "template.yaml", *written("translated", [it.translated for it in stacks]))
    findings = [text for id_, texts in found.items() if id_ not in suppressed | READ_BY_SAM for text in texts]
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)
    assert suppressed - set(found) == set(), "suppressed, and found nowhere"


def test_the_SAM_translator_takes_the_probe_of_make_conditions_and_cfn_lint_what_it_makes():
    probe = sam.read("workshop/probe/template.yaml")
    made = [sam.translate(probe, {"Architecture": it}) for it in ("arm64", "x86_64")]
    findings = [
        text for id_, texts in lint(*written("probe", made)).items() if id_ not in READ_BY_SAM for text in texts
    ]
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)
    resources = made[0]["Resources"]
    roles = {id_ for id_, it in resources.items() if it["Type"] == "AWS::IAM::Role"}
    assert roles == {"ProbeRole", "ColdRole"}, "and none that SAM adds with AWS's policies"
    statements = [
        statement
        for role in roles
        for policy in resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert [it for it in statements if list(it["Resource"]) != ["Fn::GetAtt"]] == [], "each on a resource of its own"


LESSONS = sorted(it.parent.name for it in ROOT.glob("labs/*/template.yaml"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_SAM_translator_takes_the_template_of_lesson(lesson):
    """And cfn-lint what it makes. A lesson is thrown away after an hour, so nothing of it may stay behind."""
    # Where the template is what a student repairs, it is broken on purpose.
    repaired = f"labs/{lesson}/solution.yaml"
    made = sam.translate(sam.read(repaired if (ROOT / repaired).exists() else f"labs/{lesson}/template.yaml"), {})
    findings = [
        text for id_, texts in lint(*written("lesson", [made])).items() if id_ not in READ_BY_SAM for text in texts
    ]
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)
    resources = made["Resources"].items()
    kept = [
        id_
        for id_, it in resources
        if it["Type"].startswith(("AWS::DynamoDB", "AWS::SQS")) and it.get("DeletionPolicy") != "Delete"
    ]
    assert kept == [], "each says DeletionPolicy: Delete"


def checkov(*files):
    """The checks of checkov that fail, suppressed ones included, with the resource of each."""
    # Relative: it puts the file's path in the place of a reference, and takes some long paths for a secret.
    arguments = [it for file in files for it in ("-f", file.relative_to(WORK))]
    done = run("checkov", "--framework", "cloudformation", "-o", "json", "--skip-download", *arguments, cwd=WORK)
    try:
        failed = json.loads(done.stdout)["results"]["failed_checks"]
    except (ValueError, KeyError, TypeError):
        pytest.fail(f"checkov:\n{done.stdout}{done.stderr}", pytrace=False)
    return {(it["check_id"], it["check_name"], it["resource"]) for it in failed}


def test_checkov_finds_nothing_in_production_but_what_is_suppressed(stacks):
    """A stack for a lab may be thrown away, and does without backups."""
    production = [it for it in stacks if it.parameters.get("Stage", "prod") == "prod"]
    failed = checkov(*written("resolved", [{"Resources": it.resources} for it in production]))
    suppressed = yaml.safe_load((ROOT / ".checkov.yaml").read_text())["skip-check"]
    findings = sorted(" ".join(it) for it in failed if it[0] not in suppressed)
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)
    assert set(suppressed) - {check for check, *_ in failed} == set(), "suppressed, and found nowhere"


# ── What each tool is there for ───────────────────────────────────────────────────────────────────────


def misspell_an_event_property(template):
    properties = template["Resources"]["ProcessOrders"]["Properties"]["Events"]["Orders"]["Properties"]
    properties["FunctionResponseType"] = properties.pop("FunctionResponseTypes")


def test_only_the_translator_sees_a_misspelt_property_of_an_event(template):
    file = broken(template, misspell_an_event_property)
    assert run("sam", "validate", "--lint", "-t", file).returncode == 0
    assert run("cfn-lint", file).returncode == 0
    misspelt = copy.deepcopy(template)
    misspell_an_event_property(misspelt)
    with pytest.raises(sam.Refused, match="FunctionResponseType"):
        sam.translate(misspelt, {})


def add_a_condition_that_nothing_reads(template):
    template.setdefault("Conditions", {})["Idle"] = {"Fn::Equals": [{"Ref": "Architecture"}, "arm64"]}


def misspell_a_property(template):
    properties = template["Resources"]["OrdersQueue"]["Properties"]
    properties["VisibilityTimeOut"] = properties.pop("VisibilityTimeout")


def refer_to_nothing(template):
    environment = template["Resources"]["GetProduct"]["Properties"]["Environment"]
    environment["Variables"]["PRODUCTS_TABLE"] = {"Ref": "Products"}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (add_a_condition_that_nothing_reads, "W8001"),
        (misspell_a_property, "E3002"),
        (refer_to_nothing, "E1020"),
    ],
    ids=lambda it: it.__name__ if callable(it) else "",
)
def test_cfn_lint_objects_if_I(change, finding, template):
    """In what the translator makes: of a template that still has to be translated, some checks let everything pass."""
    template = copy.deepcopy(template)
    change(template)
    [file] = written("broken", [sam.translate(template, {})])
    assert finding in run("cfn-lint", file).stdout


def test_checkov_sees_a_secret_and_a_role_for_everything(template, code):
    template = copy.deepcopy(template)
    function = template["Resources"]["GetProduct"]["Properties"]
    function["Environment"]["Variables"]["KEY"] = "AKIAIOSFODNN7EXAMPLE"
    [policy] = template["Resources"]["GetProductRole"]["Properties"]["Policies"]
    policy["PolicyDocument"]["Statement"] = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    resources = Stack(template, {}, code).resources
    found = {check for check, *_ in checkov(*written("broken", [{"Resources": resources}]))}
    assert {"CKV_AWS_45", "CKV_AWS_63"} <= found
