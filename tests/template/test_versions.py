"""A version of a function is published, and its alias moved, for what reaches that function and for nothing else.

New code is tested in deploy/test/aws/sam.test.mjs, where `sam` uploads it.
"""

import copy

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from combinations import admitted, values_to_try
from stack import Stack

# A function's properties that its versions share: https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html
OF_ALL_VERSIONS = {"Tags", "ReservedConcurrentExecutions"}


def functions(stack):
    """What a version of each function would hold."""
    return {
        name: {key: it for key, it in properties.items() if key not in OF_ALL_VERSIONS}
        for name, properties in stack.functions().items()
    }


def versions(stack):
    """The version of each function: it is a new one if its name or a property is."""
    return {stack.target(it["FunctionName"]): (name, it) for name, it in stack.of("Lambda::Version").items()}


def changed(of, one, other):
    return {name for name in of(one) if of(one)[name] != of(other)[name]}


def objections(template, code):
    default = Stack(template, {}, code)
    for name, declaration in template["Parameters"].items():
        for value in values_to_try(template, name, declaration, []):
            row = admitted(template, {name: value}, {name})
            if row is None:
                continue
            other = Stack(template, row, code)
            reached, published = changed(functions, default, other), changed(versions, default, other)
            yield from (f"{name}={value} reaches {it} and publishes no version" for it in reached - published)
            yield from (
                f"{name}={value} publishes a version of {it}, which it does not reach" for it in published - reached
            )


def test_a_parameter_publishes_the_functions_that_it_reaches_and_no_other(template, code):
    found = sorted(objections(template, code))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_cloudformation_replaces_a_version_whose_description_changes():
    """By AWS's own description of the type, which cfn-lint brings."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", "AWS::Lambda::Version").schema
    assert "/properties/Description" in schema["createOnlyProperties"]


def test_a_property_that_is_changed_in_the_template_publishes_its_function_alone(template, code):
    slower = copy.deepcopy(template)
    slower["Resources"]["GetOrder"]["Properties"]["Timeout"] = 6
    assert changed(versions, Stack(template, {}, code), Stack(slower, {}, code)) == {"GetOrder"}


def forget_the_memory(function):
    function["VersionDescription"] = "a version"


def describe_who_is_told_of_alarms(function):
    function["VersionDescription"]["Fn::Sub"] += " ${AlarmEmail}"


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        (forget_the_memory, "ApiMemorySize=128 reaches GetProduct and publishes no version"),
        (
            describe_who_is_told_of_alarms,
            "AlarmEmail=shop@example.com publishes a version of GetProduct, which it does not reach",
        ),
    ],
    ids=lambda it: it.__name__ if callable(it) else "",
)
def test_objects_if_I(change, objection, template, code):
    template = copy.deepcopy(template)
    change(template["Resources"]["GetProduct"]["Properties"])
    assert objection in objections(template, code)
