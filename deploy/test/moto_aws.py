"""AWS in memory for the verbs' tests: moto, with what its CloudFormation lacks added around it.

python deploy/test/moto_aws.py      prints its address and serves until it is killed
"""

import json
import os
import time

from moto.awslambda import urls as lambda_urls
from moto.awslambda.models import LambdaVersion, lambda_backends
from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.core.common_models import CloudFormationModel
from moto.core.config import default_user_config
from moto.iam.models import ManagedPolicy
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

create_change_set = CloudFormationBackend.create_change_set
execute_change_set = CloudFormationBackend.execute_change_set
update_resource = parsing.parse_and_update_resource


def create_translated(self, stack_name, change_set_name, template, parameters, *rest, **named):
    """The SAM transform, by SAM's own translator."""
    parsed = yaml_parse(template)
    if "Transform" in parsed:
        # A managed policy by its short name becomes an ARN; the template names none.
        parsed = Translator({}, Parser()).translate(parsed, parameters)
    template = json.dumps(parsed)
    return create_change_set(self, stack_name, change_set_name, template, parameters, *rest, **named)


def execute_with_outputs(self, change_set_name, stack_name=None):
    """The outputs of a stack that a change set has made."""
    execute_change_set(self, change_set_name, stack_name)
    stack = self.stacks[self.describe_change_set(change_set_name).stack_id]
    stack._parse_template()
    stack.output_map = stack._create_output_map()


def update_if_it_is_there(logical_id, resource, resources, *rest, **named):
    """moto would update a resource that has changed in the template and whose condition does not hold."""
    condition = resource.get("Condition")
    if condition and not resources.lazy_condition_map[condition]:
        return None
    return update_resource(logical_id, resource, resources, *rest, **named)


class Alias(CloudFormationModel):
    """AWS::Lambda::Alias: what the API and the queue call, so that their resources need it."""

    __module__ = "moto.awslambda.models"  # where moto looks for the service that a model is of

    def __init__(self, function, alias):
        self.function, self.name, self.physical_resource_id = function, alias.name, alias.arn

    @staticmethod
    def cloudformation_name_type():
        return ""

    @staticmethod
    def cloudformation_type():
        return "AWS::Lambda::Alias"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        properties = cloudformation_json["Properties"]
        function, name, version = (properties[key] for key in ("FunctionName", "Name", "FunctionVersion"))
        backend = lambda_backends[account_id][region_name]
        return cls(function, backend.create_alias(name, function, version, "", None))

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name
    ):
        properties = cloudformation_json["Properties"]
        function, name, version = (properties[key] for key in ("FunctionName", "Name", "FunctionVersion"))
        return cls(function, lambda_backends[account_id][region_name].update_alias(name, function, version, "", None))

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        pass  # it goes with its function


def detach_and_delete(self, _account_id, _region_name):
    """A managed policy that moto makes stays attached, and its roles could not be deleted."""
    for role in self.backend.roles.values():
        if self.arn in role.managed_policies:
            self.detach_from(role)
    self.backend.delete_policy(self.arn)


def version_attribute(self, name):
    """An alias points at `!GetAtt Version.Version`."""
    return str(self.version)


def account_settings(_request, _url, _headers):
    """What Lambda allows a new account; moto has no such call."""
    limit = {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}
    return 200, {}, json.dumps({"AccountLimit": limit, "AccountUsage": {}})


lambda_urls.url_paths["{0}/2016-08-19/account-settings/?$"] = account_settings
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # SAM's translator asks for one
ManagedPolicy.delete = detach_and_delete
LambdaVersion.has_cfn_attr = classmethod(lambda cls, name: name == "Version")
LambdaVersion.get_cfn_attribute = version_attribute
CloudFormationBackend.create_change_set = create_translated
parsing.parse_and_update_resource = update_if_it_is_there
CloudFormationBackend.execute_change_set = execute_with_outputs
# A state machine runs its definition, as on AWS: power tuning is tested with one.
default_user_config["stepfunctions"]["execute_state_machine"] = True

if __name__ == "__main__":
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
    while True:
        time.sleep(3600)
