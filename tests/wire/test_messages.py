"""TensorFlow Serving's messages without TensorFlow: the same on the wire, and beside TensorFlow's own in a process."""

import subprocess
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

from bench.protocol import descriptors
from bench.wire import messages
from tests.forks import ROOT


@pytest.fixture(scope="module")
def installed() -> Any:
    """The descriptors of the installed packages, from a process in which both kinds of messages live."""
    command = [sys.executable, "-m", "tests.wire.beside_tensorflow"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    return descriptor_pb2.FileDescriptorSet.FromString(done.stdout)


def test_they_live_beside_those_of_tensorflow_and_equal_them(installed: Any) -> None:
    kept = descriptor_pb2.FileDescriptorSet.FromString(messages.DESCRIPTORS.read_bytes())
    assert {file.name: file for file in kept.file} == {file.name: file for file in installed.file}, (
        f"other descriptors are installed: run python -m {descriptors.__name__}"
    )


def test_every_message_is_the_same_on_the_wire(installed: Any) -> None:
    pool, random, seen = descriptor_pool.DescriptorPool(), Random(18), 0
    for file in installed.file:
        pool.AddSerializedFile(file.SerializeToString())
    for file in installed.file:
        for descriptor in nested(pool.FindFileByName(file.name).message_types_by_name.values()):
            theirs = filled(message_factory.GetMessageClass(descriptor)(), random)
            content = theirs.SerializeToString(deterministic=True)
            ours_type = message_factory.GetMessageClass(
                messages.POOL.FindMessageTypeByName(descriptor.full_name)
            )
            ours = ours_type.FromString(content)
            assert not unknown(ours), descriptor.full_name
            assert ours.SerializeToString(deterministic=True) == content, descriptor.full_name
            assert str(ours) == str(theirs), descriptor.full_name
            seen += len(content) > 0
    assert seen > 150


def nested(descriptors: Any) -> Iterator[Any]:
    for descriptor in descriptors:
        if not descriptor.GetOptions().map_entry:
            yield descriptor
            yield from nested(descriptor.nested_types)


def unknown(message: Any) -> bool:
    """Whether a field of the message has no name."""
    return len(UnknownFieldSet(message)) > 0


def filled(message: Any, random: Random, depth: int = 3) -> Any:
    """Every field set, of messages down to a depth, to a random value."""
    for field in message.DESCRIPTOR.fields:
        value = field.message_type
        if value is not None and value.GetOptions().map_entry:
            entry = getattr(message, field.name)
            key, inner = scalar(value.fields_by_name["key"], random), value.fields_by_name["value"]
            if inner.message_type is None:
                entry[key] = scalar(inner, random)
            elif depth:
                filled(entry[key], random, depth - 1)
        elif value is not None:
            if depth:
                part = getattr(message, field.name)
                if field.is_repeated:
                    part = part.add()
                filled(part, random, depth - 1)
                if not field.is_repeated:
                    part.SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(scalar(field, random) for _ in range(2))
        else:
            setattr(message, field.name, scalar(field, random))
    return message


def scalar(field: Any, random: Random) -> Any:
    if field.enum_type is not None:
        return random.choice(field.enum_type.values).number
    if field.cpp_type in {field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT}:
        return random.randrange(1, 1000) / 8
    if field.type == field.TYPE_BYTES:
        return random.randbytes(5)
    if field.cpp_type == field.CPPTYPE_STRING:
        return "é" + str(random.random())
    return True if field.cpp_type == field.CPPTYPE_BOOL else random.randrange(1, 2**31)
