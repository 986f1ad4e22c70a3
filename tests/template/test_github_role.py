"""deploy/github-role.yaml lets its environment deploy template.yaml, and nobody else."""

import copy
import fnmatch

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from samcli.yamlhelper import yaml_parse

from sam import ROOT
from stack import as_list

# Permissions that CloudFormation's descriptions of the types list for properties that template.yaml does not use: networks, file
# systems, streams, imports, groups and users, boundaries of permissions. Two are no names of actions.
NOT_USED = [
    "ec2:*",
    "elasticfilesystem:*",
    "firehose:*",
    "iam:*GroupPolicy",
    "iam:*RolePermissionsBoundary",
    "iam:*UserPolicy",
    "kinesis:*",
    "lambda:PassCapacityProvider",
    "s3:REST.PUT.OBJECT",
    "s3files:*",
]


@pytest.fixture
def role():
    return yaml_parse((ROOT / "deploy/github-role.yaml").read_text())["Resources"]["Role"]["Properties"]


def allowed(role):
    [policy] = role["Policies"]
    return [action for statement in policy["PolicyDocument"]["Statement"] for action in as_list(statement["Action"])]


def matches(action, patterns):
    return any(fnmatch.fnmatchcase(action.lower(), it.lower()) for it in patterns)


def missing(role, types):
    for type_ in sorted(types):
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_).schema
        needed = {it for handler in schema["handlers"].values() for it in handler["permissions"]}
        yield from (f"{type_} needs {it}" for it in sorted(needed) if not matches(it, allowed(role) + NOT_USED))


@pytest.fixture
def types(stacks):
    return {it["Type"] for stack in stacks for it in stack.resources.values()}


def test_the_role_allows_what_cloudformation_does_for_each_resource(role, types):
    assert list(missing(role, types)) == []


def test_a_permission_that_the_role_has_not_is_seen(role, types):
    poorer = copy.deepcopy(role)
    for statement in poorer["Policies"][0]["PolicyDocument"]["Statement"]:
        statement["Action"] = [it for it in as_list(statement["Action"]) if not it.startswith("sqs:")]
    assert "AWS::SQS::Queue needs sqs:CreateQueue" in missing(poorer, types)


def test_nothing_is_excused_that_no_resource_would_need(types):
    needed = set()
    for type_ in types:
        handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_).schema["handlers"]
        needed |= {it for handler in handlers.values() for it in handler["permissions"]}
    assert [it for it in NOT_USED if not any(matches(action, [it]) for action in needed)] == []


def test_only_one_environment_of_one_repository_may_take_the_role(role):
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {"Fn::Sub": "repo:${Repository}:environment:${Environment}"},
        }
    }


def test_only_what_has_no_name_of_the_stack_is_allowed_without_it(role):
    """And of that nothing that changes a resource of another stack, but for APIs, triggers and saved queries."""
    for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
        if statement["Sid"] in ("Stack", "Resources", "Roles"):
            resources = [it["Fn::Sub"] for it in statement["Resource"]]
            shared = ("aws-sam-cli-managed-default/*", "transform/Serverless-2016-10-31", "CodeDeployDefault.*")
            assert [it for it in resources if "${Stack}" not in it and not it.endswith(shared)] == []
