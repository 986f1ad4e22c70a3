"""CloudFormation's intrinsic functions: what a template says once the values of its parameters are known.

References to resources stay as they are: a name is given to a resource only when it is created.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

import re

NO_VALUE = object()

PSEUDO_PARAMETERS = {
    "AWS::AccountId": "123456789012",
    "AWS::NoValue": NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "shop",
    "AWS::URLSuffix": "amazonaws.com",
}


def default_values(template):
    """The default of each parameter that has one."""
    parameters = template.get("Parameters", {}).items()
    return {name: str(it["Default"]) for name, it in parameters if "Default" in it}


class Intrinsics:
    """Evaluates the intrinsic functions of a template for one set of parameter values, as texts by name."""

    def __init__(self, template, parameters):
        self.template = template
        self.values = dict(PSEUDO_PARAMETERS)
        for name, declaration in template.get("Parameters", {}).items():
            value = parameters.get(name, str(declaration.get("Default", "")))
            self.values[name] = typed(value, declaration["Type"])

    def resources(self):
        """The resources that are created, each with its properties."""
        return {
            name: self.value({key: it for key, it in resource.items() if key != "Condition"})
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }

    def conditions(self):
        """Each condition by its name, true or false."""
        return {name: self.condition(name) for name in self.template.get("Conditions", {})}

    def refusals(self):
        """What the `Rules` of the template say against these parameters; CloudFormation then creates nothing.
        https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html"""
        applying = (
            it
            for it in self.template.get("Rules", {}).values()
            if "RuleCondition" not in it or self.condition(it["RuleCondition"])
        )
        assertions = [assertion for rule in applying for assertion in rule["Assertions"]]
        return [it["AssertDescription"] for it in assertions if not self.condition(it["Assert"])]

    def condition(self, condition):
        if isinstance(condition, str):
            return self.condition(self.template["Conditions"][condition])
        [(function, argument)] = condition.items()
        match function:
            case "Condition":
                return self.condition(argument)
            case "Fn::Equals":
                left, right = (self.value(it) for it in argument)
                return str(left) == str(right)
            case "Fn::Contains":
                texts, text = self.value(argument)
                return str(text) in map(str, texts)
            case "Fn::Not":
                return not self.condition(argument[0])
            case "Fn::And":
                return all(self.condition(it) for it in argument)
            case "Fn::Or":
                return any(self.condition(it) for it in argument)
        raise ValueError(f"{function} is no condition that intrinsics.py knows")

    def value(self, node):
        """What stands for `node`, with whatever needs a resource left in it."""
        if isinstance(node, list):
            items = [self.value(it) for it in node]
            return [it for it in items if it is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, argument)] = node.items()
            match function:
                case "Ref":
                    return self.values.get(argument, node)
                case "Fn::If":
                    condition, then, otherwise = argument
                    return self.value(then if self.condition(condition) else otherwise)
                case "Fn::FindInMap":
                    return self.find_in_map(self.value(argument))
                case "Fn::Sub":
                    return self.substitute(argument)
                case "Fn::Join":
                    separator, parts = self.value(argument)
                    is_known = isinstance(parts, list) and not any(isinstance(it, dict) for it in parts)
                    return separator.join(map(str, parts)) if is_known else {function: [separator, parts]}
                case "Fn::Split":
                    separator, text = self.value(argument)
                    return text.split(separator) if isinstance(text, str) else {function: [separator, text]}
                case "Fn::Select":
                    index, items = self.value(argument)
                    return items[int(index)] if isinstance(items, list) else {function: [index, items]}
        values = {key: self.value(it) for key, it in node.items()}
        return {key: it for key, it in values.items() if it is not NO_VALUE}

    def find_in_map(self, argument):
        name, first, second, *options = argument
        try:
            return self.template["Mappings"][name][str(first)][str(second)]
        except KeyError:
            if options:
                return options[0]["DefaultValue"]
            raise ValueError(f"the mapping {name} has no {first}, {second}") from None

    def substitute(self, argument):
        text, variables = (argument, {}) if isinstance(argument, str) else argument
        texts = {name: as_text(self.value(it)) for name, it in (self.values | variables).items()}
        text = re.sub(r"\$\{([^!}]+)\}", lambda it: it[0] if texts.get(it[1]) is None else texts[it[1]], text)
        return {"Fn::Sub": text} if re.search(r"\$\{[^!]", text) else text


def as_text(value):
    """How a value stands in the text of a Fn::Sub: a resource as `${Name}`. None if it cannot."""
    match value:
        case str() | int() | float():
            return str(value)
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::Sub": str(text)}:
            return text
        case {"Fn::Join": [separator, list(parts)]}:
            texts = [as_text(it) for it in parts]
            return None if None in texts else separator.join(texts)
    return None


def typed(value, parameter_type):
    """The value of a parameter from its text."""
    if parameter_type == "Number":
        return float(value) if "." in value else int(value)
    return value.split(",") if "List" in parameter_type else value
