"""A product with a matrix of weights and the bias that is added to it: one linear layer, as before the export."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ranksearch.documents.from_onnx.graph import OnnxGraph, OnnxNode
from ranksearch.documents.from_onnx.layers import FUSED_LINEAR

__all__ = ["with_linear_layers"]


def with_linear_layers(graph: OnnxGraph) -> OnnxGraph:
    """The graph, in which such a pair of nodes is one."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(graph.outputs)
    products = {node.outputs[0]: node for node in graph.nodes if _is_product(graph, node)}
    fused: dict[str, OnnxNode] = {}
    for node in graph.nodes:
        if node.op != "Add" or len(node.inputs) != 2:  # noqa: PLR2004 - its operands
            continue
        for product, bias in (node.inputs, node.inputs[::-1]):
            if product in products and uses[product] == 1 and _is_bias(graph, products[product], bias):
                made = products[product]
                inputs = (*made.inputs, bias)
                fused[product] = OnnxNode(made.name, FUSED_LINEAR, inputs, node.outputs, {})
                fused[node.outputs[0]] = fused[product]
                break
    nodes = tuple(
        fused.get(node.outputs[0], node)
        for node in graph.nodes
        if not (node.op == "Add" and node.outputs[0] in fused)  # done where the product is
    )
    return dataclasses.replace(graph, nodes=nodes)


def _is_product(graph: OnnxGraph, node: OnnxNode) -> bool:
    if node.op != "MatMul" or len(node.inputs) != 2 or node.inputs[0] in graph.constants:  # noqa: PLR2004 - its operands
        return False
    weight = graph.constants.get(node.inputs[1])
    return weight is not None and weight.ndim == 2  # noqa: PLR2004 - a matrix


def _is_bias(graph: OnnxGraph, product: OnnxNode, name: str) -> bool:
    bias, weight = graph.constants.get(name), graph.constants[product.inputs[1]]
    return bias is not None and bias.dtype == weight.dtype and bias.shape == (weight.shape[1],)
