// GET /products/{id} as the guides of the AWS SDK for JavaScript write it.
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, GetCommand } from '@aws-sdk/lib-dynamodb';

const client = DynamoDBDocumentClient.from(new DynamoDBClient({}));

export async function handler(event) {
  const { Item } = await client.send(new GetCommand({
    TableName: process.env.PRODUCTS_TABLE,
    Key: { id: event.pathParameters.id },
  }));
  return Item
    ? { statusCode: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(Item) }
    : { statusCode: 404 };
}
