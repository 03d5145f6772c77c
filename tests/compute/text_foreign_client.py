#!/usr/bin/env python3
"""A client of ds.compute.v1.Text that knows nothing of it but its address: it learns messages and
methods from server reflection, and puts the vectors to them.

usage: text_foreign_client.py HOST:PORT
"""

import json
import pathlib
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVICE = "ds.compute.v1.Text"
TIMEOUT_S = 60


def field(number, payload):
    """A length-delimited field of a message."""
    size, head = len(payload), bytes([number << 3 | 2])
    while size >= 0x80:
        head += bytes([size & 0x7f | 0x80])
        size >>= 7
    return head + bytes([size]) + payload


def fields(message):
    """(number, payload) of the length-delimited fields of a message, others left out."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            varint()
        else:
            assert tag & 7 == 2, tag
            size = varint()
            yield tag >> 3, message[at:at + size]
            at += size


def learn(channel):
    ask = channel.stream_stream(REFLECTION)
    names = [name for number, listed in fields(next(ask(iter([field(7, b"")]), timeout=TIMEOUT_S)))
             if number == 6 for _, service in fields(listed) for _, name in fields(service)]
    assert SERVICE.encode() in names and b"grpc.health.v1.Health" in names, names
    pool = descriptor_pool.DescriptorPool()
    answer = next(ask(iter([field(4, SERVICE.encode())]), timeout=TIMEOUT_S))
    for number, files in fields(answer):
        if number == 4:
            for _, file in fields(files):
                pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    return pool.FindServiceByName(SERVICE)


def main():
    channel = grpc.insecure_channel(sys.argv[1])
    service = learn(channel)
    factory = message_factory.MessageFactory()

    def method(name):
        found = service.methods_by_name[name]
        request = factory.GetPrototype(found.input_type)
        response = factory.GetPrototype(found.output_type)
        make = channel.stream_stream if name == "IsPrime" else channel.unary_unary
        return request, make(f"/{SERVICE}/{name}", request.SerializeToString, response.FromString)

    vectors = json.loads(pathlib.Path(__file__).with_name("testdata").joinpath("vectors.json")
                         .read_text(encoding="utf-8"))
    request, reverse = method("Reverse")
    for vector in vectors["reverse"]:
        answer = reverse(request(text=vector["text"]), timeout=TIMEOUT_S)
        assert answer.text == vector["reversed"], vector
    request, split = method("Split")
    for vector in vectors["split"]:
        try:
            answer = split(request(text=vector["text"], delimiter=vector["delimiter"]),
                           timeout=TIMEOUT_S)
            assert list(answer.parts) == vector["parts"], vector
            assert answer.count == len(vector["parts"]), vector
        except grpc.RpcError as error:
            assert "error" in vector and error.code() == grpc.StatusCode.INVALID_ARGUMENT, vector
    request, is_prime = method("IsPrime")
    answers = is_prime((request(number=v["text"]) for v in vectors["isprime"]), timeout=TIMEOUT_S)
    for vector, answer in zip(vectors["isprime"], answers, strict=True):
        if "error" in vector:
            assert answer.WhichOneof("outcome") == "error" and answer.error, vector
        else:
            assert (answer.number, answer.prime) == (vector["number"], vector["prime"]), vector

    raw = channel.unary_unary(f"/{SERVICE}/Reverse")
    for bad in (field(1, b"\xff\xfe"), b"\x0a\xff", b"\xff" * 100):
        try:
            raw(bad, timeout=TIMEOUT_S)
            raise AssertionError(f"{bad} was answered")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    # In a stream it is the answer to that message, and the stream lives.
    stream = channel.stream_stream(f"/{SERVICE}/IsPrime")
    malformed, seven = list(stream(iter([b"\xff" * 10, field(1, b"7")]), timeout=TIMEOUT_S))
    assert b"malformed" in malformed and seven == field(1, b"7") + b"\x10\x01", (malformed, seven)
    health = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert health(b"", timeout=TIMEOUT_S) == b"\x08\x01"
    print("all answers are right")


if __name__ == "__main__":
    main()
