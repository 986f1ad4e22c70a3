// GET /products/{id} with the AWS SDK for Go v2, its client made once, outside the handler.
//
// Debian has the SDK and not aws-lambda-go, so the loop of the Runtime API is here, as that has it: net/http and JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type request struct {
	PathParameters map[string]string `json:"pathParameters"`
}

type response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       string            `json:"body,omitempty"`
}

var table = aws.String(os.Getenv("PRODUCTS_TABLE"))

func main() {
	ctx := context.Background()
	configuration, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client := dynamodb.NewFromConfig(configuration, func(options *dynamodb.Options) {
		// This version does not know the variable, which later ones read themselves.
		if endpoint := os.Getenv("AWS_ENDPOINT_URL"); endpoint != "" {
			options.EndpointResolver = dynamodb.EndpointResolverFromURL(endpoint)
		}
	})
	runtime := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		if err := serve(ctx, client, runtime); err != nil {
			log.Fatal(err)
		}
	}
}

func serve(ctx context.Context, client *dynamodb.Client, runtime string) error {
	next, err := http.Get(runtime + "next")
	if err != nil {
		return err
	}
	defer next.Body.Close()
	var event request
	if err := json.NewDecoder(next.Body).Decode(&event); err != nil {
		return err
	}
	path, result := "/response", any(nil)
	if result, err = getProduct(ctx, client, event); err != nil {
		path, result = "/error", map[string]string{"errorType": fmt.Sprintf("%T", err), "errorMessage": err.Error()}
	}
	body, err := json.Marshal(result)
	if err != nil {
		return err
	}
	id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
	accepted, err := http.Post(runtime+id+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	return accepted.Body.Close()
}

func getProduct(ctx context.Context, client *dynamodb.Client, event request) (response, error) {
	key := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: event.PathParameters["id"]}}
	found, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: table, Key: key})
	if err != nil {
		return response{}, err
	}
	if found.Item == nil {
		return response{StatusCode: 404}, nil
	}
	product := map[string]any{}
	for name, value := range found.Item {
		switch value := value.(type) {
		case *types.AttributeValueMemberS:
			product[name] = value.Value
		case *types.AttributeValueMemberN:
			product[name] = json.Number(value.Value)
		}
	}
	body, err := json.Marshal(product)
	headers := map[string]string{"content-type": "application/json"}
	return response{StatusCode: 200, Headers: headers, Body: string(body)}, err
}
