"""The combinations of parameter values that decide what a template deploys.

They are worked out from its conditions, so a condition or parameter that is added later is in them by itself.
"""

import itertools
import math
import re

from resolved import default_values, refusal
from sam import translate

# Above this many, each pair of values is tried instead of each combination. Most faults need two values that meet
# (https://csrc.nist.gov/projects/automated-combinatorial-testing-for-software); each combination costs a tenth of a
# second to translate and judge, and seconds to lint.
MOST = 64

# Tried in turn for a parameter without allowed values: the first that it takes and that no condition names.
SAMPLES = [
    "2", "0.5", "shop@example.com", "https://example.com",
    "arn:aws:lambda:us-east-1:580247275435:layer:LambdaInsightsExtension:56",
]  # fmt: skip


def combinations(template):
    """Parameter values, by name: the defaults, then the defaults with each value alone, then every combination; or, if
    those are more than `MOST`, every pair. None of them is one that the template's `Rules` refuse."""
    choices = choices_of(template)
    defaults = default_values(template)
    alone = [admitted(template, {name: value}, {name}) for name, values in choices.items() for value in values]
    rows = [it for it in [{}, *alone, *together(template, choices)] if it is not None]
    return unique(defaults | row for row in rows)


def together(template, choices):
    def admit(row, fixed):
        return admitted(template, row, fixed)

    if math.prod(map(len, choices.values())) > MOST:
        return pairwise(choices, admit)
    return [
        admit(dict(zip(choices, values, strict=True)), set(choices)) for values in itertools.product(*choices.values())
    ]


def choices_of(template):
    """The values to try for each parameter that decides something; its default is the first."""
    conditions = template.get("Conditions", {})
    declarations = template.get("Parameters", {})
    choices = {}
    for name, declaration in declarations.items():
        in_condition = name in references(conditions)
        values = values_to_try(template, name, declaration, compared(conditions, name))
        if in_condition or is_read_by_translator(template, {name: values[-1]}):
            choices[name] = values
    return choices


def is_read_by_translator(template, parameters):
    """Whether SAM itself, and not CloudFormation later, looks at a parameter: its output changes with it."""
    return translate(template, parameters) != translate(template, {})


def values_to_try(template, name, declaration, named):
    """The default, each value that conditions name, and one that they do not; all allowed ones, if they name none."""
    default = [str(declaration["Default"])] if "Default" in declaration else []
    allowed = list(map(str, declaration.get("AllowedValues", [])))
    if allowed and not named:
        return unique([*default, *allowed])
    bounds = [str(declaration[it]) for it in ("MinValue", "MaxValue") if it in declaration]
    others = [it for it in allowed or [*SAMPLES, *bounds] if it not in named + default and takes(declaration, it)]
    admissible = [it for it in others if admitted(template, {name: it}, {name}) is not None]
    if not others and not allowed:
        raise ValueError(f"no sample fits the parameter {name}: add one to SAMPLES in tests/template/combinations.py")
    return unique([*default, *(it for it in named if takes(declaration, it)), *(admissible or others)[:1]])


def admitted(template, row, fixed):
    """These parameters, or the nearest that the template's `Rules` do not refuse, with the `fixed` ones as they are.
    None if there are none."""
    in_rules = [name for name in template.get("Parameters", {}) if name in references(template.get("Rules", {}))]
    free = {name: simple_values(template["Parameters"][name]) for name in in_rules if name not in fixed}
    for count in range(3):
        for names in itertools.combinations(free, count):
            for values in itertools.product(*(free[name] for name in names)):
                changed = row | dict(zip(names, values, strict=True))
                if refusal(template, changed) is None:
                    return changed
    return None


def simple_values(declaration):
    candidates = [declaration.get("Default", ""), *declaration.get("AllowedValues", SAMPLES)]
    return [it for it in map(str, candidates) if takes(declaration, it)]


def takes(declaration, value):
    """Whether a parameter may have this value."""
    if "AllowedValues" in declaration:
        return value in map(str, declaration["AllowedValues"])
    if declaration["Type"] == "Number":
        number = float(value) if re.fullmatch(r"[\d.]+", value) else math.nan
        return float(declaration.get("MinValue", 0)) <= number <= float(declaration.get("MaxValue", math.inf))
    is_long_enough = len(value) >= int(declaration.get("MinLength", 0))
    return is_long_enough and re.fullmatch(declaration.get("AllowedPattern", ".*"), value) is not None


def references(node):
    """The names in every Ref, Fn::Sub and such below `node`."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if isinstance(node, dict):
        own = {node["Ref"]} if isinstance(node.get("Ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set(re.findall(r"\$\{([\w:]+)", node)) if isinstance(node, str) else set()


def compared(conditions, name):
    """The texts and numbers that conditions compare a parameter with, in the order of the template."""
    if isinstance(conditions, list):
        return unique(itertools.chain(*(compared(it, name) for it in conditions)))
    if not isinstance(conditions, dict):
        return []
    if "Fn::Equals" in conditions and name in references(conditions):
        return [str(it) for it in conditions["Fn::Equals"] if not isinstance(it, (dict, list))]
    return compared(list(conditions.values()), name)


def pairwise(choices, admit=lambda row, fixed: row):
    """Few rows in which each pair of values of two parameters occurs, but for pairs that `admit` allows in no row. It
    takes a row and the names in it that may not change, and gives one that is allowed, or None."""
    missing = pairs_of_choices(choices)
    rows = []
    while missing:
        pair = min(missing, key=sorted)
        row = dict(pair)
        for name, values in choices.items():
            row.setdefault(name, max(values, key=lambda value: len(pairs(row | {name: value}) & missing)))
        # The rules may refuse so full a row for more than one reason; the pair by itself for one at most.
        row = admit(row, set(dict(pair))) or admit(dict(pair), set(dict(pair)))
        missing.discard(pair)
        if row is not None:
            missing -= pairs(row)
            rows.append(row)
    return rows


def pairs_of_choices(choices):
    return {
        frozenset([(one, first), (other, second)])
        for one, other in itertools.combinations(choices, 2)
        for first in choices[one]
        for second in choices[other]
    }


def pairs(row):
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def unique(items):
    kept = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept
