"""ONNX files made by hand, and what ONNX Runtime makes of them."""

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import ranksearch

BATCH = "batch"


def constant(values, name="", dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def ints(*values):
    return np.array(values, np.int64)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model(nodes, shape, constants=None, *, outputs=("y",), opset=18, batch=BATCH, inputs=("x",)):
    """A model of one graph; ``shape`` without the batch."""
    kept = [value if isinstance(value, TensorProto) else constant(value, name, np.asarray(value).dtype)
            for name, value in (constants or {}).items()]  # fmt: skip
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape]) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        kept,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="by hand"
    )


def of_one(op, shape, constants=(), *, opset=18, batch=BATCH, outputs=("y",), given=None, **attributes):
    """A model of one operator, on the input ``x`` and then constants; None leaves one out."""
    names = {f"c{place}": value for place, value in enumerate(constants) if value is not None}
    inputs = given or ["x", *(f"c{place}" if value is not None else "" for place, value in enumerate(constants))]
    return model(
        [helper.make_node(op, inputs, list(outputs), name=f"the_{op}", **attributes)],
        shape, names, opset=opset, batch=batch, outputs=[name for name in outputs if name],
    )  # fmt: skip


def saved(made, folder, name="net.onnx"):
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def computed(path, *inputs):
    """ONNX Runtime's outputs."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True)))


def packed(path, **options):
    """The network of the document that is made of a file."""
    document = path.with_suffix(".safetensors")
    return ranksearch.load(ranksearch.pack_onnx(path, document, **{"verify": False, **options}))


def images(shape, count=3, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def assert_computes(path, network, *inputs, tolerance=1e-5):
    """The network's outputs are those of the file, up to a share of their size."""
    with torch.no_grad():
        made = network(*inputs)
    made = made if isinstance(made, tuple) else (made,)
    for got, wanted in zip(made, computed(path, *inputs), strict=True):
        assert tuple(got.shape) == wanted.shape
        assert str(got.dtype).removeprefix("torch.") == str(wanted.dtype)
        assert np.abs(got.numpy().astype(float) - wanted.astype(float)).max() <= tolerance * np.abs(wanted).max()
