"""GET /products/{id} with boto3's client, made once, outside the handler.

A client starts faster than a resource, which reads and compiles a description of its own.
"""

import json
import os

import boto3

dynamodb = boto3.client("dynamodb")
table = os.environ["PRODUCTS_TABLE"]


def handler(event, context):
    item = dynamodb.get_item(TableName=table, Key={"id": {"S": event["pathParameters"]["id"]}}).get("Item")
    if item is None:
        return {"statusCode": 404}
    # {"S": "text"} and {"N": "12"}: a product has no other types.
    product = {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(product)}
