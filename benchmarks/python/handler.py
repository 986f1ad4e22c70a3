"""GET /products/{id} as the guides of boto3 write it."""

import json
import os

import boto3

table = boto3.resource("dynamodb").Table(os.environ["PRODUCTS_TABLE"])


def handler(event, context):
    item = table.get_item(Key={"id": event["pathParameters"]["id"]}).get("Item")
    if item is None:
        return {"statusCode": 404}
    # Numbers arrive as Decimal, which json cannot write.
    body = json.dumps(item, default=int)
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": body}
