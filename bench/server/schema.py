"""Protobuf messages that no installed package describes.

They get a package name of our own: their full names stay free for a process that loads the originals, and
neither text format nor wire format depends on them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _FIELD.TYPE_STRING,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
}
_WRAPPERS: Final = {
    "Int64Value": wrappers_pb2.Int64Value,
    "BoolValue": wrappers_pb2.BoolValue,
    "StringValue": wrappers_pb2.StringValue,
}


def message_classes(package: str, messages: Mapping[str, Sequence[tuple[int, str, str]]]) -> dict[str, Any]:
    """Message classes by name, for fields given as (number, name, type) with types as in a .proto file.

    Types are `string`, `bool`, `int32`, `int64`, `repeated` ones of these, the wrappers `Int64Value`, `BoolValue`
    and `StringValue`, and names of messages of the same package. To be called once per package and process.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto",
        package=package,
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            single = kind.removeprefix("repeated ")
            label = _FIELD.LABEL_OPTIONAL if single == kind else _FIELD.LABEL_REPEATED
            added = message.field.add(name=field, number=number, label=label)
            if single in _SCALARS:
                added.type = _SCALARS[single]
            else:
                wrapper = _WRAPPERS.get(single)
                added.type = _FIELD.TYPE_MESSAGE
                added.type_name = f".{wrapper.DESCRIPTOR.full_name if wrapper else f'{package}.{single}'}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }
