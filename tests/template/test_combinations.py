"""Every combination of conditions is tried, or every pair of values."""

import itertools

from combinations import choices_of, combinations, pairs, pairs_of_choices, pairwise
from resolved import refusal, resolve


def test_each_condition_is_true_in_one_combination_and_false_in_another(template, stacks):
    made = [resolve(template, it.parameters)["Conditions"] for it in stacks]
    stuck = [name for name in template.get("Conditions", {}) if len({it[name] for it in made}) < 2]
    assert stuck == []


def test_each_pair_of_values_meets_in_one_combination_or_is_refused_by_the_rules_of_the_template(template, stacks):
    missing = pairs_of_choices(choices_of(template)) - set().union(*(pairs(it.parameters) for it in stacks))
    defaults = stacks[0].parameters
    assert [dict(it) for it in missing if refusal(template, defaults | dict(it)) is None] == []
    assert [it.parameters for it in stacks if refusal(template, it.parameters)] == []


def small(rules):
    def is_(name, value):
        return {"Fn::Equals": [{"Ref": name}, value]}

    return {
        "Parameters": {
            "Stage": {"Type": "String", "Default": "dev"},
            "Size": {"Type": "Number", "Default": 0},
            "Why": {"Type": "String", "Default": ""},
        },
        "Conditions": {"IsProd": is_("Stage", "prod"), "IsSized": {"Fn::Not": [is_("Size", 0)]}},
        "Rules": rules(is_),
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
    }


def test_few_combinations_are_all_tried():
    rows = combinations(small(lambda is_: {}))
    assert len(rows) == 6
    assert {(it["Stage"], it["Size"]) for it in rows} == set(itertools.product(["dev", "prod", "2"], ["0", "2"]))


def test_a_combination_that_the_rules_refuse_is_mended_or_left_out():
    def rules(is_):
        prod_is_not_sized = {"RuleCondition": is_("Stage", "prod"), "Assertions": [assertion(is_("Size", 0))]}
        size_has_reason = {"Fn::Or": [is_("Size", 0), {"Fn::Not": [is_("Why", "")]}]}
        return {"One": prod_is_not_sized, "Other": {"Assertions": [assertion(size_has_reason)]}}

    def assertion(condition):
        return {"Assert": condition, "AssertDescription": "no"}

    rows = combinations(small(rules))
    assert ("prod", "2") not in {(it["Stage"], it["Size"]) for it in rows}
    assert ("dev", "2") in {(it["Stage"], it["Size"]) for it in rows}
    assert all(it["Why"] != "" for it in rows if it["Size"] == "2")


def test_of_many_combinations_every_pair_is_tried():
    choices = {f"p{index}": ["0", "1", "2"] for index in range(12)}  # 531,441 of them
    rows = pairwise(choices)
    assert len(rows) < 30
    assert pairs_of_choices(choices) == set().union(*map(pairs, rows))
