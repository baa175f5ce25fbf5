"""Signatures whose outputs depend on nothing but their inputs, without side effects.

Only such a signature may be tried out before clients come, or answer several requests in one run.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

_HARMLESS: Final = frozenset(
    (
        *(
            "VarHandleOp",
            "_VarHandlesOp",
            "ReadVariableOp",
            "ResourceGather",
            "ResourceGatherNd",
            "Variable",
            "VariableV2",
        ),
        *("PartitionedCall", "StatefulPartitionedCall", "If", "While", "Case", "Assert"),
        *(
            "HashTable",
            "HashTableV2",
            "LookupTableFind",
            "LookupTableFindV2",
            "MutableHashTableV2",
            "LookupTableSizeV2",
            "NoOp",
        ),
    )
)
"""Ops registered as stateful whose result depends on nothing but inputs and loaded variables."""


def pure_signatures(meta: Any, is_stateful: Callable[[str], bool]) -> set[str]:
    """Keys of the signatures of a MetaGraphDef without side effects and without randomness.

    `is_stateful(op)` says whether TensorFlow registers the op as stateful, True for ops that it does not know.
    """
    functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    nodes = {node.name: node for node in meta.graph_def.node}

    @functools.cache
    def pure_op(op: str) -> bool:
        return op in functions or op in _HARMLESS or not is_stateful(op)

    def reachable(names: list[str]) -> list[Any]:
        seen: dict[str, Any] = {}
        waiting = names
        while waiting:
            name = waiting.pop().lstrip("^").partition(":")[0]
            if name in nodes and name not in seen:
                seen[name] = nodes[name]
                waiting.extend(nodes[name].input)
        return list(seen.values())

    def pure(start: list[Any]) -> bool:
        waiting, called = list(start), set()
        while waiting:
            node = waiting.pop()
            if not pure_op(node.op):
                return False
            for name in _functions_called(node):
                if name in functions and name not in called:
                    called.add(name)
                    waiting.extend(functions[name])
        return True

    return {
        name
        for name, signature in meta.signature_def.items()
        if pure(reachable([output.name for output in signature.outputs.values()]))
    }


def _functions_called(node: Any) -> list[str]:
    names = [node.op]
    for attribute in node.attr.values():
        names.append(attribute.func.name)
        names.extend(function.name for function in attribute.list.func)
    return names
