"""A template for the values of its parameters, as `local template --json` resolves it.

References to resources stay as they are: a name is given to a resource only when it is created.
"""

import functools
import json
import subprocess

from sam import ROOT

# Of `make host`, and of the tests.
BUILDS = ["target/host/local", "target/debug/local"]


class Refused(Exception):
    """The template is wrong, or its parameters are; the words of `local`."""


def resolve(template, parameters, *options):
    """The `Parameters`, `Conditions` and `Resources` of a template in its long form. Raises `Refused`."""
    declared = template.get("Parameters", {})
    given = tuple((name, value) for name, value in parameters.items() if name in declared)
    return json.loads(run(json.dumps(template), given, *options))


@functools.cache
def run(text, parameters, *options):
    options = [*options, *(word for name, value in parameters for word in ("--parameter", f"{name}={value}"))]
    command = [local(), "template", "--json", "--template", "/dev/stdin", *options]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr.strip().removeprefix("local: /dev/stdin:"))
    return done.stdout


@functools.cache
def local():
    """The newest of its builds."""
    built = [file for file in map(ROOT.joinpath, BUILDS) if file.exists()]
    if not built:
        raise FileNotFoundError(f"{BUILDS[0]}, which reads templates, is not built: `make host` builds it")
    return max(built, key=lambda file: file.stat().st_mtime)


def refusal(template, parameters):
    """What the `Rules` of the template say against these parameters, or None; CloudFormation then creates nothing.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html"""
    read = {key: template[key] for key in ("Parameters", "Mappings", "Conditions", "Rules") if key in template}
    try:
        resolve(read | {"Resources": {}}, parameters)
    except Refused as error:
        if " Rules." in str(error):
            return str(error)
        raise
    return None


def default_values(template):
    """The default of each parameter that has one."""
    parameters = template.get("Parameters", {}).items()
    return {name: str(it["Default"]) for name, it in parameters if "Default" in it}


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
