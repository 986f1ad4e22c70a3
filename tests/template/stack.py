"""What template.yaml deploys for one set of parameter values, to be judged by rules.py."""

import re
from pathlib import Path

from resolved import default_values, resolve
from sam import ROOT, translate

UNIT_TESTS = re.compile(r"#\[cfg\(test\)\]\n(?:pub(?:\(crate\))? )?mod tests \{")


def read_code():
    """The source of each crate in functions/ by the crate's name, without its unit tests."""
    crates = {}
    for file in sorted(ROOT.glob("functions/*/src/**/*.rs")):
        crate = file.relative_to(ROOT / "functions").parts[0]
        crates[crate] = crates.get(crate, "") + UNIT_TESTS.split(file.read_text())[0]
    return crates


class Stack:
    """What one set of parameter values deploys."""

    def __init__(self, source, parameters, code):
        self.source = source
        """template.yaml"""
        self.parameters = default_values(source) | parameters
        self.code = code
        """What `read_code` gives."""
        self.translated = translate(source, self.parameters)
        """CloudFormation, conditions and intrinsic functions included."""
        # A rule may refuse these parameters; the resources are judged all the same.
        without_rules = {key: it for key, it in self.translated.items() if key != "Rules"}
        self.resources = resolve(without_rules, self.parameters)["Resources"]

    def of(self, *types):
        """Resources of these types, such as `SQS::Queue`: their properties by their names."""
        names = [f"AWS::{it}" for it in types]
        return {name: it.get("Properties", {}) for name, it in self.resources.items() if it["Type"] in names}

    def functions(self):
        """Those of the shop, each a binary of a crate in functions/."""
        return {name: it for name, it in self.all_functions().items() if "S3Key" in it["Code"]}

    def all_functions(self):
        """With those whose code stands in the template."""
        return self.of("Lambda::Function")

    def crate(self, function):
        """The crate in functions/ whose binary a function runs."""
        return Path(self.functions()[function]["Code"]["S3Key"]).name

    def target(self, reference):
        """The name of the resource that a Ref, GetAtt or Sub means; that of the function for an alias of it."""
        name = None
        match reference:
            case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
                pass
            case {"Fn::Sub": str(text)}:
                found = re.fullmatch(r"\$\{(\w+)(\.\w+)?\}", text)
                name = found and found[1]
        resource = self.resources.get(name)
        if resource and resource["Type"] in ("AWS::Lambda::Alias", "AWS::Lambda::Version"):
            return self.target(resource["Properties"]["FunctionName"])
        return name

    def queues_that_trigger(self):
        """Each mapping from a queue to a function: its name, its properties, the queue and the function."""
        for name, mapping in self.of("Lambda::EventSourceMapping").items():
            queue = self.target(mapping.get("EventSourceArn"))
            if queue in self.of("SQS::Queue"):
                yield name, mapping, queue, self.target(mapping["FunctionName"])

    def routes(self):
        """How each route authorises, by its key, such as `PUT /products/{id}`: `AWS_IAM`, `JWT` or `NONE`."""
        routes = {}
        for api in self.of("ApiGatewayV2::Api").values():
            body = api.get("Body", {})
            schemes = body.get("components", {}).get("securitySchemes", {})
            kinds = {name: authorization(it) for name, it in schemes.items()}
            for path, item in body.get("paths", {}).items():
                for method, operation in item.items():
                    names = [name for it in operation.get("security", body.get("security", [])) for name in it]
                    routes[f"{method.upper()} {path}"] = kinds.get(names[0], names[0]) if names else "NONE"
        for route in self.of("ApiGatewayV2::Route").values():
            routes[route["RouteKey"]] = route.get("AuthorizationType", "NONE")
        return routes

    def statements(self):
        """Each statement of each policy, with the name of the resource that it belongs to."""
        for name, resource in self.resources.items():
            properties = resource.get("Properties", {})
            documents = [it["PolicyDocument"] for it in properties.get("Policies", []) if "PolicyDocument" in it]
            if "PolicyDocument" in properties:
                documents.append(properties["PolicyDocument"])
            for document in documents:
                for statement in as_list(document["Statement"]):
                    yield name, statement


def authorization(scheme):
    """What a security scheme of an API's definition asks for."""
    if scheme.get("x-amazon-apigateway-authtype") == "awsSigv4":
        return "AWS_IAM"
    return "JWT" if scheme.get("x-amazon-apigateway-authorizer", {}).get("type") == "jwt" else "an unknown scheme"


def as_list(value):
    return value if isinstance(value, list) else [value]
