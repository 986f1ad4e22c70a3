// GET /products/{id} with the SDK's document client, made once, outside the handler. package.json bundles the SDK from its
// ES modules (--main-fields=module,main), of which esbuild leaves out what is not used.
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
