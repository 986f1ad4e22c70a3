"""Every operation of SQS that the host has, by boto3, against what AWS documents."""

import hashlib
import json
import struct
import threading
import time
import uuid

import pytest
from botocore.exceptions import ClientError

ACCOUNT_ARN = "arn:aws:sqs:us-east-1:000000000000:"
PATIENCE_S = 30
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def name(suffix=""):
    return f"q-{uuid.uuid4()}{suffix}"


@pytest.fixture
def queue(sqs):
    return sqs.create_queue(QueueName=name())["QueueUrl"]


@pytest.fixture
def fifo(sqs):
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    return sqs.create_queue(QueueName=name(".fifo"), Attributes=attributes)["QueueUrl"]


@pytest.fixture
def pair(sqs):
    """A queue that gives up on a message after one receive, and its dead-letter queue."""
    dead = sqs.create_queue(QueueName=name())["QueueUrl"]
    policy = {"deadLetterTargetArn": arn(dead), "maxReceiveCount": "1"}
    attributes = {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "0"}
    return sqs.create_queue(QueueName=name(), Attributes=attributes)["QueueUrl"], dead


def arn(url):
    return ACCOUNT_ARN + url.rsplit("/", 1)[1]


def numbers(sqs, url):
    """Visible, in flight, delayed."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return tuple(int(attributes[name]) for name in names)


def receive(sqs, url, **how):
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **how)
    return answer.get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def eventually(holds):
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def digest(attributes):
    """The MD5 that AWS documents for message attributes."""

    def part(value):
        return struct.pack(">I", len(value)) + value

    md5 = hashlib.md5()
    for name, attribute in sorted(attributes.items()):
        kind, binary = attribute["DataType"], attribute.get("BinaryValue")
        value = attribute["StringValue"].encode() if binary is None else binary
        md5.update(part(name.encode()) + part(kind.encode()))
        md5.update((b"\1" if binary is None else b"\2") + part(value))
    return md5.hexdigest()


def test_a_queue_is_created_found_listed_changed_and_deleted(sqs):
    prefix = name("-")
    urls = [sqs.create_queue(QueueName=f"{prefix}{n}")["QueueUrl"] for n in range(3)]
    assert sqs.get_queue_url(QueueName=f"{prefix}1") | {"ResponseMetadata": 0} == {
        "QueueUrl": urls[1],
        "ResponseMetadata": 0,
    }
    assert sqs.list_queues(QueueNamePrefix=prefix)["QueueUrls"] == urls
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2})
    assert [page["QueueUrls"] for page in pages] == [urls[:2], urls[2:]]
    sqs.set_queue_attributes(QueueUrl=urls[0], Attributes={"VisibilityTimeout": "69", "Policy": "{}"})
    attributes = sqs.get_queue_attributes(QueueUrl=urls[0], AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "69"
    assert attributes["Policy"] == "{}"
    assert attributes["QueueArn"] == arn(urls[0])
    assert abs(int(attributes["CreatedTimestamp"]) - time.time()) < PATIENCE_S
    sqs.delete_queue(QueueUrl=urls[0])
    assert sqs.list_queues(QueueNamePrefix=prefix)["QueueUrls"] == urls[1:]
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=urls[0], MessageBody="x")


def test_tags(sqs, queue):
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=queue)
    sqs.tag_queue(QueueUrl=queue, Tags={"a": "1", "b": "2"})
    sqs.untag_queue(QueueUrl=queue, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"b": "2"}


def test_a_message_has_its_attributes_and_their_digests(sqs, queue):
    attributes = {
        "text": {"DataType": "String", "StringValue": "ä"},
        "number": {"DataType": "Number.int", "StringValue": "42"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}}
    body = '{"order": "ä"}'
    sent = sqs.send_message(
        QueueUrl=queue, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes=header
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    assert sent["MD5OfMessageAttributes"] == digest(attributes)
    assert sent["MD5OfMessageSystemAttributes"] == digest(header)
    [message] = receive(
        sqs, queue, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"], VisibilityTimeout=0
    )
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == body
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    system = message["Attributes"]
    assert system["AWSTraceHeader"] == TRACE
    assert system["ApproximateReceiveCount"] == "1"
    assert system["SenderId"] == "000000000000"
    assert abs(int(system["SentTimestamp"]) / 1000 - time.time()) < PATIENCE_S
    [message] = receive(sqs, queue, MessageAttributeNames=["te.*"], AttributeNames=["SenderId"])
    assert message["MessageAttributes"] == {"text": attributes["text"]}
    assert message["MD5OfMessageAttributes"] == digest({"text": attributes["text"]})
    assert message["Attributes"] == {"SenderId": "000000000000"}


def test_batches(sqs, queue):
    entries = [{"Id": str(n), "MessageBody": f"message {n}"} for n in range(9)]
    entries.append({"Id": "bad", "MessageBody": "\x01"})
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert [sent["Id"] for sent in answer["Successful"]] == [str(n) for n in range(9)]
    [failed] = answer["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("bad", "InvalidMessageContents", True)
    messages = receive(sqs, queue)
    assert sorted(bodies(messages)) == sorted(entry["MessageBody"] for entry in entries[:9])
    handles = [{"Id": str(n), "ReceiptHandle": it["ReceiptHandle"]} for n, it in enumerate(messages)]
    shown = sqs.change_message_visibility_batch(
        QueueUrl=queue, Entries=[{**entry, "VisibilityTimeout": 0} for entry in handles[:4]]
    )
    assert len(shown["Successful"]) == 4 and "Failed" not in shown
    assert numbers(sqs, queue) == (4, 5, 0)
    bad = {"Id": "bad", "ReceiptHandle": "x"}
    deleted = sqs.delete_message_batch(QueueUrl=queue, Entries=[*handles[4:], bad])
    assert len(deleted["Successful"]) == 5
    assert [(it["Id"], it["Code"]) for it in deleted["Failed"]] == [("bad", "ReceiptHandleIsInvalid")]
    assert numbers(sqs, queue) == (4, 0, 0)


def test_delay_visibility_and_purge(sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="late", DelaySeconds=900)
    sqs.send_message(QueueUrl=queue, MessageBody="now")
    [message] = receive(sqs, queue)
    assert message["Body"] == "now"
    assert numbers(sqs, queue) == (0, 1, 1)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert numbers(sqs, queue) == (1, 0, 1)
    sqs.purge_queue(QueueUrl=queue)
    assert numbers(sqs, queue) == (0, 0, 0)
    with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
        sqs.purge_queue(QueueUrl=queue)


def test_a_long_poll_wakes_when_a_message_arrives(sqs, queue):
    received = []
    poll = threading.Thread(target=lambda: received.extend(receive(sqs, queue, WaitTimeSeconds=20)))
    poll.start()
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    poll.join(timeout=15)  # the poll itself takes 20 s
    assert bodies(received) == ["x"]


def test_dead_letters_keep_their_id_and_a_task_moves_them_back(sqs, pair):
    queue, dead = pair
    ids = {sqs.send_message(QueueUrl=queue, MessageBody=str(n))["MessageId"] for n in range(3)}
    assert len(receive(sqs, queue)) == 3
    assert receive(sqs, queue) == []
    letters = receive(sqs, dead, VisibilityTimeout=0, MessageSystemAttributeNames=["All"])
    assert {letter["MessageId"] for letter in letters} == ids
    assert {letter["Attributes"]["DeadLetterQueueSourceArn"] for letter in letters} == {arn(queue)}
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [queue]

    started = sqs.start_message_move_task(SourceArn=arn(dead), MaxNumberOfMessagesPerSecond=1)
    with pytest.raises(ClientError, match="already a task running"):
        sqs.start_message_move_task(SourceArn=arn(dead))
    sqs.cancel_message_move_task(TaskHandle=started["TaskHandle"])
    [task] = sqs.list_message_move_tasks(SourceArn=arn(dead))["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesToMove"]) == ("CANCELLED", 3)

    sqs.start_message_move_task(SourceArn=arn(dead))

    def newest():
        return sqs.list_message_move_tasks(SourceArn=arn(dead))["Results"][0]

    eventually(lambda: newest()["Status"] == "COMPLETED")
    assert numbers(sqs, dead) == (0, 0, 0)
    assert not ids & {message["MessageId"] for message in receive(sqs, queue)}


def test_fifo(sqs, fifo):
    def send(group, body):
        return sqs.send_message(QueueUrl=fifo, MessageBody=body, MessageGroupId=group)

    sent = [send("a", "a1"), send("b", "b1"), send("a", "a2")]
    assert send("a", "a1")["MessageId"] == sent[0]["MessageId"]  # a duplicate
    order = [message["SequenceNumber"] for message in sent]
    assert order == sorted(order)
    [first] = sqs.receive_message(QueueUrl=fifo, MessageSystemAttributeNames=["All"])["Messages"]
    assert first["Body"] == "a1"
    assert first["Attributes"]["SequenceNumber"] == order[0]
    assert first["Attributes"]["MessageDeduplicationId"] == hashlib.sha256(b"a1").hexdigest()
    assert bodies(receive(sqs, fifo, ReceiveRequestAttemptId="again")) == ["b1"]
    sqs.delete_message(QueueUrl=fifo, ReceiptHandle=first["ReceiptHandle"])
    assert bodies(receive(sqs, fifo)) == ["a2"]


def test_resources(sqs_resource):
    queue = sqs_resource.create_queue(QueueName=name(), Attributes={"DelaySeconds": "0"})
    queue.send_messages(Entries=[{"Id": "1", "MessageBody": "one"}, {"Id": "2", "MessageBody": "two"}])
    messages = queue.receive_messages(MaxNumberOfMessages=10)
    assert [message.body for message in messages] == ["one", "two"]
    for message in messages:
        message.delete()
    queue.reload()
    assert queue.attributes["ApproximateNumberOfMessages"] == "0"


# What boto3 shows of a refusal: the class of the exception, the code of the query protocol, the HTTP status.
@pytest.mark.parametrize(
    ("call", "arguments", "exception", "code", "status"),
    [
        ("get_queue_url", {"QueueName": "none"}, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400),
        ("receive_message", {"QueueUrl": "@"}, "InvalidAddress", "InvalidAddress", 404),
        ("receive_message", {"MaxNumberOfMessages": 11}, "ClientError", "InvalidParameterValue", 400),
        ("send_message", {"MessageBody": ""}, "ClientError", "MissingParameter", 400),
        ("send_message", {"MessageBody": "\x0b"}, "InvalidMessageContents", "InvalidMessageContents", 400),
        ("send_message_batch", {"Entries": []}, "EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400),
        ("delete_message", {"ReceiptHandle": "x"}, "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404),
        (
            "set_queue_attributes",
            {"Attributes": {"Colour": "red"}},
            "InvalidAttributeName",
            "InvalidAttributeName",
            400,
        ),
        (
            "set_queue_attributes",
            {"Attributes": {"DelaySeconds": "-1"}},
            "InvalidAttributeValue",
            "InvalidAttributeValue",
            400,
        ),
        ("list_message_move_tasks", {"SourceArn": "x"}, "ResourceNotFoundException", "ResourceNotFoundException", 404),
        (
            "add_permission",
            {"Label": "x", "AWSAccountIds": ["1"], "Actions": ["*"]},
            "UnsupportedOperation",
            "AWS.SimpleQueueService.UnsupportedOperation",
            400,
        ),
    ],
)
def test_refusals(sqs, queue, call, arguments, exception, code, status):
    if sqs.meta.service_model.operation_model(sqs.meta.method_to_api_mapping[call]).input_shape.members.get("QueueUrl"):
        arguments = {"QueueUrl": queue} | arguments
    with pytest.raises(ClientError) as refused:
        getattr(sqs, call)(**arguments)
    answer = refused.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert answer["Error"]["Type"] == "Sender"
    assert type(refused.value).__name__ == exception


def test_a_name_in_use_with_other_attributes(sqs):
    taken = name()
    url = sqs.create_queue(QueueName=taken, Attributes={"DelaySeconds": "1"})["QueueUrl"]
    assert sqs.create_queue(QueueName=taken)["QueueUrl"] == url
    with pytest.raises(sqs.exceptions.QueueNameExists) as refused:
        sqs.create_queue(QueueName=taken, Attributes={"DelaySeconds": "2"})
    assert refused.value.response["Error"]["Code"] == "QueueAlreadyExists"
