"""DynamoDB of the local host, held against what AWS documents, as a user of boto3 sees it.

The API reference is https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/; limits are those of
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html.
"""

import itertools
from decimal import Decimal

import pytest
from boto3.dynamodb.conditions import Attr, Key
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

SERIALIZE = TypeSerializer().serialize
DESERIALIZE = TypeDeserializer().deserialize
NAMES = (f"table-{number}-of-the-tests" for number in itertools.count())


def item(**attributes):
    return {name: SERIALIZE(value) for name, value in attributes.items()}


def refused(call, **request):
    """The error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value.response


def code(call, **request):
    return refused(call, **request)["Error"]["Code"]


@pytest.fixture
def table(dynamodb):
    """A table with a partition and a sort key, and an index with its own keys."""
    name = next(NAMES)
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": it, "AttributeType": kind} for it, kind in [("pk", "S"), ("sk", "N"), ("kind", "S")]
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-kind",
                "KeySchema": [
                    {"AttributeName": "kind", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    return name


def put(dynamodb, table, pk, sk, **more):
    return dynamodb.put_item(TableName=table, Item=item(pk=pk, sk=sk, **more))


# Tables


def test_a_table_is_described_as_it_was_created(dynamodb, table):
    described = dynamodb.describe_table(TableName=table)["Table"]
    assert described["TableStatus"] == "ACTIVE"
    assert [key["KeyType"] for key in described["KeySchema"]] == ["HASH", "RANGE"]
    assert described["GlobalSecondaryIndexes"][0]["IndexName"] == "by-kind"
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert described["TableArn"].startswith("arn:aws:dynamodb:us-east-1:000000000000:table/")
    assert table in dynamodb.list_tables()["TableNames"]


def test_a_table_exists_once_and_can_be_deleted(dynamodb, table):
    again = {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    }
    assert code(dynamodb.create_table, **again) == "ResourceInUseException"
    dynamodb.delete_table(TableName=table)
    assert code(dynamodb.describe_table, TableName=table) == "ResourceNotFoundException"
    assert code(dynamodb.get_item, TableName=table, Key=item(pk="a", sk=1)) == "ResourceNotFoundException"


def test_time_to_live_is_described(dynamodb, table):
    enable = {"TableName": table, "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True}}
    dynamodb.update_time_to_live(**enable)
    described = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}


# Items


def test_every_type_is_read_as_it_was_written(dynamodb, table):
    values = {
        "text": "ä\u0000z",
        "empty": "",
        "number": Decimal("-1.5"),
        "digits": Decimal("1" * 38),
        "small": Decimal("1E-130"),
        "bytes": b"\x00\xff",
        "yes": True,
        "nothing": None,
        "list": [1, "a", [None]],
        "map": {"a": {"b": [True]}},
        "texts": {"b", "a"},
        "numbers": {Decimal(1), Decimal("2.5")},
    }
    put(dynamodb, table, "a", 1, **values)
    read = dynamodb.get_item(TableName=table, Key=item(pk="a", sk=1), ConsistentRead=True)["Item"]
    for name, value in values.items():
        got = DESERIALIZE(read[name])
        assert (bytes(got.value) if isinstance(value, bytes) else got) == value, name


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        ({"pk": {"S": ""}}, "an empty key"),
        ({"pk": {"N": "1"}}, "a key of another type"),
        ({"pk": None}, "no key"),
        ({"value": {"SS": []}}, "an empty set"),
        ({"value": {"SS": ["a", "a"]}}, "a set with one value twice"),
        ({"value": {"N": "1" * 39}}, "39 digits"),
        ({"value": {"N": "one"}}, "a number that is none"),
        ({"value": {"N": "1E126"}}, "a number above 9.99E125"),
        ({"value": {"S": "x" * 400 * 1024}}, "an item above 400 KB"),
        ({"pk": {"S": "x" * 2049}}, "a partition key above 2,048 bytes"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_an_item_that_dynamodb_does_not_take_is_refused(dynamodb, table, attributes, what):
    whole = {**item(pk="a", sk=1), **attributes}
    whole = {name: value for name, value in whole.items() if value is not None}
    assert code(dynamodb.put_item, TableName=table, Item=whole) == "ValidationException", what
    assert dynamodb.scan(TableName=table)["Count"] == 0


def test_an_item_that_does_not_exist_is_absent_from_the_answer(dynamodb, table):
    assert "Item" not in dynamodb.get_item(TableName=table, Key=item(pk="a", sk=1))
    dynamodb.delete_item(TableName=table, Key=item(pk="a", sk=1))


def test_nesting_beyond_32_levels_is_refused(dynamodb, table):
    for levels, is_taken in [(31, True), (33, False), (70, False), (120, False)]:
        value = {"S": "deep"}
        for _ in range(levels):
            value = {"L": [value]}
        request = {"TableName": table, "Item": {**item(pk="deep", sk=levels), "value": value}}
        if is_taken:
            dynamodb.put_item(**request)
        else:
            error = refused(dynamodb.put_item, **request)["Error"]
            assert error["Code"] == "ValidationException", levels
            assert "Nesting Levels have exceeded supported limits" in error["Message"], levels


def test_old_and_new_values_are_returned_when_asked_for(dynamodb, table):
    put(dynamodb, table, "a", 1, count=1)
    old = dynamodb.put_item(TableName=table, Item=item(pk="a", sk=1, count=2), ReturnValues="ALL_OLD")
    assert old["Attributes"]["count"] == {"N": "1"}
    update = {
        "TableName": table,
        "Key": item(pk="a", sk=1),
        "UpdateExpression": "SET #c = #c + :one",
        "ExpressionAttributeNames": {"#c": "count"},
        "ExpressionAttributeValues": item(**{":one": 1}),
    }
    assert dynamodb.update_item(**update, ReturnValues="UPDATED_NEW")["Attributes"] == item(count=3)
    assert dynamodb.update_item(**update, ReturnValues="UPDATED_OLD")["Attributes"] == item(count=3)
    assert dynamodb.update_item(**update, ReturnValues="ALL_NEW")["Attributes"]["count"] == {"N": "5"}
    assert "Attributes" not in dynamodb.update_item(**update)
    deleted = dynamodb.delete_item(TableName=table, Key=item(pk="a", sk=1), ReturnValues="ALL_OLD")
    assert deleted["Attributes"]["count"] == {"N": "6"}


def test_an_update_sets_removes_adds_and_deletes(dynamodb, table):
    put(dynamodb, table, "a", 1, list=[1], set={"a", "b"}, gone=True, count=1)
    dynamodb.update_item(
        TableName=table,
        Key=item(pk="a", sk=1),
        UpdateExpression="SET #l = list_append(#l, :more), made = if_not_exists(made, :made) REMOVE gone ADD #c :two DELETE #s :a",
        ExpressionAttributeNames={"#l": "list", "#s": "set", "#c": "count"},
        ExpressionAttributeValues={
            ":more": SERIALIZE([2]),
            ":made": SERIALIZE("new"),
            ":two": SERIALIZE(2),
            ":a": {"SS": ["a"]},
        },
    )
    read = dynamodb.get_item(TableName=table, Key=item(pk="a", sk=1))["Item"]
    assert {name: DESERIALIZE(value) for name, value in read.items()} == {
        "pk": "a",
        "sk": 1,
        "list": [1, 2],
        "set": {"b"},
        "made": "new",
        "count": 3,
    }


def test_an_update_makes_an_item_that_does_not_exist_and_keeps_its_key(dynamodb, table):
    update = {"TableName": table, "Key": item(pk="new", sk=1), "ExpressionAttributeValues": item(**{":v": 1})}
    dynamodb.update_item(**update, UpdateExpression="SET v = :v")
    assert dynamodb.get_item(TableName=table, Key=item(pk="new", sk=1))["Item"] == item(pk="new", sk=1, v=1)
    assert code(dynamodb.update_item, **update, UpdateExpression="SET sk = :v") == "ValidationException"


# Expressions


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Attr("count").exists(), True),
        (Attr("none").not_exists(), True),
        (Attr("count").between(1, 3), True),
        (Attr("count").is_in([4, 5]), False),
        (Attr("name").begins_with("la"), True),
        (Attr("tags").contains("b"), True),
        (Attr("name").size().gt(4), False),
        (Attr("count").attribute_type("N"), True),
        (Attr("count").gt(1) & ~Attr("name").eq("lamp"), False),
        (Attr("count").gt(1) | Attr("name").eq("chair"), True),
        (Attr("count").eq("2"), False),
    ],
)
def test_a_condition_decides_about_a_write(dynamodb, resource, table, condition, holds):
    put(dynamodb, table, "a", 1, count=2, name="lamp", tags={"a", "b"})
    write = {"Item": {"pk": "a", "sk": 1, "written": True}, "ConditionExpression": condition}
    if holds:
        resource.Table(table).put_item(**write)
    else:
        assert code(resource.Table(table).put_item, **write) == "ConditionalCheckFailedException"
    assert ("written" in dynamodb.get_item(TableName=table, Key=item(pk="a", sk=1))["Item"]) == holds


def test_a_failed_condition_shows_the_item_to_a_caller_who_asks(dynamodb, table):
    put(dynamodb, table, "a", 1, stock=3)
    write = {"TableName": table, "Item": item(pk="a", sk=1), "ConditionExpression": "attribute_not_exists(pk)"}
    assert "Item" not in refused(dynamodb.put_item, **write)
    shown = refused(dynamodb.put_item, **write, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert shown["Item"] == item(pk="a", sk=1, stock=3)


@pytest.mark.parametrize(
    "expression",
    ["count = :v", "#missing = :v", "a = :missing", "a = ", "a == :v", "size(a) :v", "unknown(a)", ""],
)
def test_an_expression_that_is_none_is_refused(dynamodb, table, expression):
    # `count` is a reserved word.
    write = {
        "TableName": table,
        "Item": item(pk="a", sk=1),
        "ConditionExpression": expression,
        "ExpressionAttributeValues": item(**{":v": 1}),
    }
    assert code(dynamodb.put_item, **write) == "ValidationException"


def test_names_and_values_that_an_expression_does_not_use_are_refused(dynamodb, table):
    get = {"TableName": table, "Key": item(pk="a", sk=1), "ProjectionExpression": "a"}
    assert code(dynamodb.get_item, **get, ExpressionAttributeNames={"#b": "b"}) == "ValidationException"
    query = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": item(**{":pk": "a", ":b": "b"}),
    }
    assert code(dynamodb.query, **query) == "ValidationException"


def test_a_projection_reads_some_attributes_and_costs_the_whole_item(dynamodb, table):
    put(dynamodb, table, "a", 1, text="x" * 7000, list=[1, {"b": 2}], name="lamp")
    read = dynamodb.get_item(
        TableName=table,
        Key=item(pk="a", sk=1),
        ProjectionExpression="#n, #l[1].b, nowhere",
        ExpressionAttributeNames={"#n": "name", "#l": "list"},
        ReturnConsumedCapacity="TOTAL",
        ConsistentRead=True,
    )
    assert read["Item"] == {"name": {"S": "lamp"}, "list": {"L": [{"M": {"b": {"N": "2"}}}]}}
    assert read["ConsumedCapacity"]["CapacityUnits"] == 2.0


# Query and Scan


def test_a_query_reads_one_partition_in_the_order_of_its_sort_key(dynamodb, resource, table):
    for sk in [10, 2, -1, 1]:
        put(dynamodb, table, "a", sk)
    put(dynamodb, table, "b", 3)
    query = resource.Table(table).query
    keys = lambda page: [int(it["sk"]) for it in page["Items"]]  # noqa: E731
    assert keys(query(KeyConditionExpression=Key("pk").eq("a"))) == [-1, 1, 2, 10]
    assert keys(query(KeyConditionExpression=Key("pk").eq("a"), ScanIndexForward=False)) == [10, 2, 1, -1]
    assert keys(query(KeyConditionExpression=Key("pk").eq("a") & Key("sk").between(1, 9))) == [1, 2]
    assert keys(query(KeyConditionExpression=Key("pk").eq("a") & Key("sk").lt(1))) == [-1]
    assert code(query, KeyConditionExpression=Key("sk").eq(1)) == "ValidationException"
    assert code(query, KeyConditionExpression=Key("pk").begins_with("a")) == "ValidationException"


def test_pages_follow_each_other_until_there_is_no_key(dynamodb, table):
    for sk in range(7):
        put(dynamodb, table, "a", sk)
    for call, request in [
        (dynamodb.query, {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": item(**{":pk": "a"})}),
        (dynamodb.scan, {}),
    ]:
        seen, pages, start = [], 0, {}
        while True:
            page = call(TableName=table, Limit=3, **request, **start)
            seen += [it["sk"]["N"] for it in page["Items"]]
            pages += 1
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        assert (sorted(map(int, seen)), pages) == (list(range(7)), 3)


def test_a_filter_leaves_out_items_that_were_read_and_paid_for(dynamodb, table):
    for sk in range(8):
        put(dynamodb, table, "a", sk, text="x" * 1000, even=sk % 2 == 0)
    page = dynamodb.scan(
        TableName=table,
        Limit=4,
        FilterExpression="even = :yes",
        ExpressionAttributeValues=item(**{":yes": True}),
        ReturnConsumedCapacity="TOTAL",
    )
    assert (page["Count"], page["ScannedCount"]) == (2, 4)
    assert page["ConsumedCapacity"]["CapacityUnits"] == 0.5
    assert "LastEvaluatedKey" in page


def test_a_page_ends_at_one_megabyte(dynamodb, table):
    for sk in range(4):
        put(dynamodb, table, "a", sk, text="x" * 390_000)
    page = dynamodb.scan(TableName=table)
    assert page["Count"] < 4
    assert "LastEvaluatedKey" in page


def test_an_index_holds_the_items_that_have_its_key_and_what_it_projects(dynamodb, table):
    put(dynamodb, table, "a", 1, kind="lamp", text="x")
    put(dynamodb, table, "b", 2, kind="lamp")
    put(dynamodb, table, "c", 3)
    query = {
        "TableName": table,
        "IndexName": "by-kind",
        "KeyConditionExpression": "kind = :k",
        "ExpressionAttributeValues": item(**{":k": "lamp"}),
    }
    page = dynamodb.query(**query)
    assert page["Items"] == [item(pk="a", sk=1, kind="lamp"), item(pk="b", sk=2, kind="lamp")]
    assert dynamodb.scan(TableName=table, IndexName="by-kind")["Count"] == 2
    assert code(dynamodb.query, **query, ConsistentRead=True) == "ValidationException"
    assert code(dynamodb.query, **{**query, "IndexName": "none"}) in (
        "ValidationException",
        "ResourceNotFoundException",
    )
    assert code(dynamodb.put_item, TableName=table, Item=item(pk="d", sk=4, kind=7)) == "ValidationException"


# Batches and transactions


def test_a_batch_reads_up_to_a_hundred_keys_and_leaves_out_missing_items(dynamodb, table):
    for sk in range(3):
        put(dynamodb, table, "a", sk)
    get = lambda keys: dynamodb.batch_get_item(RequestItems={table: {"Keys": keys}})  # noqa: E731
    answer = get([item(pk="a", sk=sk) for sk in range(100)])
    assert len(answer["Responses"][table]) == 3
    assert answer["UnprocessedKeys"] == {}
    over = {table: {"Keys": [item(pk="a", sk=sk) for sk in range(101)]}}
    assert code(dynamodb.batch_get_item, RequestItems=over) == "ValidationException"
    twice = {table: {"Keys": [item(pk="a", sk=1)] * 2}}
    assert code(dynamodb.batch_get_item, RequestItems=twice) == "ValidationException"


def test_a_batch_writes_up_to_25_items(dynamodb, table):
    write = lambda sk: {"PutRequest": {"Item": item(pk="a", sk=sk)}}  # noqa: E731
    delete = {"DeleteRequest": {"Key": item(pk="a", sk=99)}}
    answer = dynamodb.batch_write_item(RequestItems={table: [write(sk) for sk in range(24)] + [delete]})
    assert answer["UnprocessedItems"] == {}
    assert dynamodb.scan(TableName=table)["Count"] == 24
    for over in [[write(sk) for sk in range(26)], [write(1), write(1)]]:
        assert code(dynamodb.batch_write_item, RequestItems={table: over}) == "ValidationException"


def test_a_transaction_writes_all_or_nothing_and_says_why_for_each_item(dynamodb, table):
    put(dynamodb, table, "a", 1, stock=1)
    take = {
        "Update": {
            "TableName": table,
            "Key": item(pk="a", sk=1),
            "UpdateExpression": "SET stock = stock - :n",
            "ConditionExpression": "stock >= :n",
            "ExpressionAttributeValues": item(**{":n": 2}),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }
    order = {"Put": {"TableName": table, "Item": item(pk="order", sk=1)}}
    error = refused(dynamodb.transact_write_items, TransactItems=[order, take])
    assert error["Error"]["Code"] == "TransactionCanceledException"
    assert [reason["Code"] for reason in error["CancellationReasons"]] == ["None", "ConditionalCheckFailed"]
    assert error["CancellationReasons"][1]["Item"] == item(pk="a", sk=1, stock=1)
    assert "Item" not in dynamodb.get_item(TableName=table, Key=item(pk="order", sk=1))
    take["Update"]["ExpressionAttributeValues"] = item(**{":n": 1})
    dynamodb.transact_write_items(TransactItems=[order, take])
    read = dynamodb.transact_get_items(
        TransactItems=[{"Get": {"TableName": table, "Key": item(pk=pk, sk=1)}} for pk in ["order", "a", "none"]]
    )
    assert [it.get("Item") for it in read["Responses"]] == [item(pk="order", sk=1), item(pk="a", sk=1, stock=0), None]


def test_a_transaction_has_at_most_a_hundred_items_and_each_once(dynamodb, table):
    write = lambda sk: {"Put": {"TableName": table, "Item": item(pk="a", sk=sk)}}  # noqa: E731
    dynamodb.transact_write_items(TransactItems=[write(sk) for sk in range(100)])
    assert code(dynamodb.transact_write_items, TransactItems=[write(sk) for sk in range(101)]) == "ValidationException"
    assert code(dynamodb.transact_write_items, TransactItems=[write(1), write(1)]) == "ValidationException"


def test_a_request_token_makes_a_transaction_idempotent(dynamodb, table):
    add = lambda n: {  # noqa: E731
        "Update": {
            "TableName": table,
            "Key": item(pk="a", sk=1),
            "UpdateExpression": "ADD stock :n",
            "ExpressionAttributeValues": item(**{":n": n}),
        }
    }
    for _ in range(2):
        dynamodb.transact_write_items(TransactItems=[add(5)], ClientRequestToken="once")
    assert dynamodb.get_item(TableName=table, Key=item(pk="a", sk=1))["Item"]["stock"] == {"N": "5"}
    other = {"TransactItems": [add(6)], "ClientRequestToken": "once"}
    assert code(dynamodb.transact_write_items, **other) == "IdempotentParameterMismatchException"


# Capacity


def test_capacity_is_counted_as_documented(dynamodb, table):
    """4 KB a read unit, half for an eventually consistent one; 1 KB a write unit, again for each index; twice in a transaction."""
    units = lambda answer: answer["ConsumedCapacity"]["CapacityUnits"]  # noqa: E731
    total = {"TableName": table, "ReturnConsumedCapacity": "TOTAL"}
    big = item(pk="a", sk=1, text="x" * 4500)
    assert units(dynamodb.put_item(**total, Item=big)) == 5.0
    key = {"Key": item(pk="a", sk=1)}
    assert units(dynamodb.get_item(**total, **key)) == 1.0
    assert units(dynamodb.get_item(**total, **key, ConsistentRead=True)) == 2.0
    assert units(dynamodb.get_item(**total, Key=item(pk="none", sk=1))) == 0.5
    assert units(dynamodb.put_item(**total, Item=item(pk="b", sk=1, kind="lamp"))) == 2.0
    transact = dynamodb.transact_write_items(
        TransactItems=[{"Put": {"TableName": table, "Item": item(pk="c", sk=1)}}], ReturnConsumedCapacity="TOTAL"
    )
    assert transact["ConsumedCapacity"][0]["CapacityUnits"] == 2.0
    assert units(dynamodb.delete_item(**total, Key=item(pk="none", sk=9))) == 1.0
    assert "ConsumedCapacity" not in dynamodb.get_item(TableName=table, **key)
