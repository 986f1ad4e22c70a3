"""template.yaml, and what the SAM translator makes of it: the CloudFormation that AWS would deploy."""

import copy
import logging
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

# It warns of metrics that it has nowhere to send, at each translation.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

ROOT = Path(__file__).parents[2]


class Refused(Exception):
    """The translator takes the template for invalid; its words."""


def read(template="template.yaml"):
    """template.yaml or another, with intrinsic functions in their long form."""
    return yaml_parse((ROOT / template).read_text())


def translate(template, parameters):
    """The CloudFormation for a SAM template and its parameters' values; conditions are still in it.

    Raises `Refused`.
    """
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if isinstance(properties.get("CodeUri"), str):  # `sam package` has uploaded it
            properties["CodeUri"] = "s3://code/" + properties["CodeUri"].rstrip("/")
    try:
        # {}: managed policies that a template may name by a short name; ours names none so.
        translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
        return translator.translate(template, parameters)
    except InvalidDocumentException as error:
        causes = "; ".join(cause.message for cause in error.causes)
        raise Refused(f"the SAM translator, with {parameters or 'the default parameters'}: {causes}") from None
