"""The live branch of a conversation whose messages were edited or answered anew: a tree."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def branch(parents: Mapping[Node, Node | None], leaf: Node) -> list[Node]:
    """The nodes from the first one to the leaf; one whose parent is not there is the first.

    Raises:
        ValueError: the parents go in a circle.
    """
    found: dict[Node, None] = {}
    node: Node | None = leaf
    while node is not None and node in parents:
        if node in found:
            raise ValueError(node)
        found[node] = None
        node = parents[node]
    return list(reversed(found))
