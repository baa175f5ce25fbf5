from typing import Any

import pytest
from google.protobuf import text_format

from bench.server.execution.purity import pure_signatures
from bench.wire.messages import MetaGraphDef

STATEFUL = {
    "VarHandleOp",
    "ReadVariableOp",
    "AssignAddVariableOp",
    "RandomUniform",
    "StatefulPartitionedCall",
    "While",
}


def is_stateful(op: str) -> bool:
    return op in STATEFUL or op == "Unheard"


def graph(*nodes: str, functions: str = "", **outputs: str) -> Any:
    signatures = "".join(
        f'signature_def {{ key: "{name}" value {{ outputs {{ key: "y" value {{ name: "{tensor}" }} }} }} }}'
        for name, tensor in outputs.items()
    )
    text = "".join(f"node {{ {node} }}" for node in nodes)
    return text_format.Parse(f"graph_def {{ {text} library {{ {functions} }} }} {signatures}", MetaGraphDef())


@pytest.mark.parametrize(
    ("op", "pure"),
    [
        ("MatMul", True),
        ("ReadVariableOp", True),
        ("RandomUniform", False),
        ("AssignAddVariableOp", False),
        ("Unheard", False),
    ],
)
def test_what_an_output_is_computed_from_decides(op: str, pure: bool) -> None:
    meta = graph(
        'name: "a" op: "Placeholder"',
        f'name: "b" op: "{op}" input: "a"',
        'name: "c" op: "Identity" input: "b:0"',
        out="c:0",
    )
    assert pure_signatures(meta, is_stateful) == ({"out"} if pure else set())


def test_what_it_does_not_depend_on_does_not_matter() -> None:
    meta = graph(
        'name: "a" op: "Placeholder"',
        'name: "r" op: "RandomUniform"',
        'name: "s" op: "Add" input: "a" input: "r"',
        one="a:0",
        other="s:0",
    )
    assert pure_signatures(meta, is_stateful) == {"one"}


def test_control_inputs_count() -> None:
    meta = graph('name: "w" op: "AssignAddVariableOp"', 'name: "a" op: "Identity" input: "^w"', out="a:0")
    assert pure_signatures(meta, is_stateful) == set()


@pytest.mark.parametrize("inner", ["MatMul", "RandomUniform"])
def test_functions_are_looked_into_through_calls_and_loops(inner: str) -> None:
    functions = (
        'function { signature { name: "outer" } node_def { name: "w" op: "While" attr { key: "body" value { func { name: "inner" } } } } }'
        f'function {{ signature {{ name: "inner" }} node_def {{ name: "x" op: "{inner}" }} '
        'node_def { name: "again" op: "StatefulPartitionedCall" attr { key: "f" value { func { name: "outer" } } } } }'
    )
    call = 'name: "c" op: "StatefulPartitionedCall" attr { key: "f" value { func { name: "outer" } } }'
    assert pure_signatures(graph(call, functions=functions, out="c:0"), is_stateful) == (
        {"out"} if inner == "MatMul" else set()
    )


def test_a_list_of_functions_is_looked_into() -> None:
    functions = 'function { signature { name: "branch" } node_def { name: "x" op: "AssignAddVariableOp" } }'
    case = 'name: "c" op: "Case" attr { key: "branches" value { list { func { name: "branch" } } } }'
    assert pure_signatures(graph(case, functions=functions, out="c:0"), is_stateful) == set()
