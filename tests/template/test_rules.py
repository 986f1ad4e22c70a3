"""template.yaml keeps this project's rules, and each rule objects where it is broken."""

import copy

import pytest

import rules
from mutations import MUTATIONS
from resolved import as_text
from rules import EVERY_ALARM, PARTS_OF_ONE_RESOURCE, RULES
from stack import Stack, as_list


def named(function):
    return function.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_rule(rule, stacks):
    objections = {}
    for stack in stacks:
        for objection in rule(stack):
            objections.setdefault(objection, changed(stack, stacks[0]))
    if objections:
        pytest.fail("\n".join(f"- {text}, with {where}" for text, where in objections.items()), pytrace=False)


def changed(stack, default):
    """How a stack's parameters differ from the default ones."""
    values = {name: value for name, value in stack.parameters.items() if default.parameters[name] != value}
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "the default parameters"


def test_no_exception_is_listed_that_no_statement_needs(stacks):
    used = [statement for stack in stacks for _, statement in stack.statements()]
    assert EVERY_ALARM[0] in {action for it in used for action in as_list(it["Action"])}
    resources = [as_text(it) or "" for statement in used for it in as_list(statement.get("Resource", []))]
    assert [it.pattern for it in PARTS_OF_ONE_RESOURCE if not any(map(it.fullmatch, resources))] == []


def test_every_rule_is_tested_by_a_template_that_breaks_it():
    assert {rule.__name__ for rule in RULES} - {mutation.rule for mutation in MUTATIONS} == set()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda it: it.name)
def test_objects_to(mutation, template, code):
    def objections(template, code):
        return set(getattr(rules, mutation.rule)(Stack(template, mutation.parameters, code)))

    broken, broken_code = copy.deepcopy(template), dict(code)
    mutation.change(broken, broken_code)
    assert objections(broken, broken_code) - objections(template, code), f"{mutation.rule} has no objection"
