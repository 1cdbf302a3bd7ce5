"""The operators a model document may name: an explicit list of aten overloads, and arithmetic on sizes.

A document names an operator by text; the text is looked up in the tables built from this list and nowhere else, so
no document reaches an attribute of torch, of an operator's namespace or of Python. Operators that are left out on
purpose: those that draw random numbers, leave memory uninitialised, read a tensor's value into Python, touch files
or call back into Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload

__all__ = ["ALLOCATING", "aten_operators", "name_of_aten", "size_operators"]

_ARITHMETIC = """
abs.default abs_.default add.Scalar add.Tensor add_.Scalar add_.Tensor addcdiv.default addcmul.default
atan2.default ceil.default clamp.default clamp.Tensor clamp_.default clamp_max.default clamp_max_.default
clamp_min.default clamp_min_.default clip.default cos.default cumsum.default div.Scalar div.Scalar_mode
div.Tensor div.Tensor_mode div_.Scalar div_.Tensor erf.default exp.default exp_.default exp2.default
expm1.default floor.default floor_divide.default floor_divide.Scalar fmod.Scalar fmod.Tensor lerp.Scalar
lerp.Tensor log.default log10.default log1p.default log2.default maximum.default minimum.default mul.Scalar
mul.Tensor mul_.Scalar mul_.Tensor neg.default neg_.default pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor
pow_.Scalar reciprocal.default reciprocal_.default remainder.Scalar remainder.Tensor round.default
rsqrt.default rsqrt_.default rsub.Scalar rsub.Tensor sign.default sin.default sqrt.default sqrt_.default
square.default sub.Scalar sub.Tensor sub_.Scalar sub_.Tensor tan.default trunc.default xlogy.Tensor
"""

_COMPARISON = """
bitwise_and.Tensor bitwise_not.default bitwise_or.Tensor eq.Scalar eq.Tensor ge.Scalar ge.Tensor gt.Scalar
gt.Tensor isfinite.default isinf.default isnan.default le.Scalar le.Tensor logical_and.default
logical_not.default logical_or.default logical_xor.default lt.Scalar lt.Tensor masked_fill.Scalar
masked_fill.Tensor masked_fill_.Scalar masked_fill_.Tensor nan_to_num.default ne.Scalar ne.Tensor
where.Scalar where.ScalarOther where.ScalarSelf where.self
"""

_ACTIVATION = """
celu.default celu_.default elu.default elu_.default gelu.default gelu_.default glu.default
hardshrink.default hardsigmoid.default hardsigmoid_.default hardswish.default hardswish_.default
hardtanh.default hardtanh_.default leaky_relu.default leaky_relu_.default log_sigmoid.default
log_softmax.int mish.default mish_.default prelu.default relu.default relu6.default relu6_.default
relu_.default selu.default selu_.default sigmoid.default sigmoid_.default silu.default silu_.default
softmax.int softplus.default softshrink.default tanh.default tanh_.default threshold.default
threshold_.default
"""

_CONVOLUTION = """
conv1d.default conv1d.padding conv2d.default conv2d.padding conv3d.default conv3d.padding
conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input im2col.default col2im.default
"""

_NORMALISATION = """
_weight_norm.default _weight_norm_interface.default batch_norm.default group_norm.default
instance_norm.default layer_norm.default linalg_vector_norm.default native_group_norm.default
native_layer_norm.default norm.ScalarOpt_dim norm.Scalar rms_norm.default
"""

_POOLING = """
adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_avg_pool3d.default
adaptive_max_pool1d.default adaptive_max_pool2d.default adaptive_max_pool3d.default avg_pool1d.default
avg_pool2d.default avg_pool3d.default max_pool1d.default max_pool1d_with_indices.default max_pool2d.default
max_pool2d_with_indices.default max_pool3d.default max_pool3d_with_indices.default max_unpool2d.default
"""

_LINEAR = """
addmm.default baddbmm.default bilinear.default bmm.default dot.default einsum.default embedding.default
linear.default matmul.default mm.default mv.default outer.default scaled_dot_product_attention.default
"""

_REDUCTION = """
all.default all.dim amax.default amin.default any.default any.dim argmax.default argmin.default
cosine_similarity.default logsumexp.default max.default max.dim max.other mean.default mean.dim min.default
min.dim min.other prod.default prod.dim_int std.correction std.dim sum.default sum.dim_IntList topk.default
var.correction var.dim var_mean.correction sort.default
"""

_RESAMPLING = """
affine_grid_generator.default channel_shuffle.default grid_sampler.default grid_sampler_2d.default
native_channel_shuffle.default pad.default constant_pad_nd.default pixel_shuffle.default
pixel_unshuffle.default reflection_pad1d.default reflection_pad2d.default reflection_pad3d.default
replication_pad1d.default replication_pad2d.default replication_pad3d.default upsample_bicubic2d.default
upsample_bicubic2d.vec upsample_bilinear2d.default upsample_bilinear2d.vec upsample_linear1d.default
upsample_linear1d.vec upsample_nearest1d.default upsample_nearest1d.vec upsample_nearest2d.default
upsample_nearest2d.vec upsample_nearest3d.default upsample_nearest3d.vec upsample_trilinear3d.default
upsample_trilinear3d.vec _upsample_bilinear2d_aa.default _upsample_bilinear2d_aa.vec
"""

_SHAPE = """
atleast_1d.default atleast_2d.default broadcast_tensors.default broadcast_to.default cat.default
chunk.default clone.default concat.default contiguous.default copy_.default diagonal.default expand.default
expand_as.default fill_.Scalar flatten.using_ints flip.default fill_.Tensor gather.default index.Tensor
index_put_.default index_select.default movedim.int movedim.intlist narrow.default numpy_T.default
permute.default repeat.default repeat_interleave.self_int reshape.default reshape_as.default roll.default
scatter.src scatter.value select.int select_scatter.default slice.Tensor slice_scatter.default split.Tensor
split.sizes split_with_sizes.default squeeze.default squeeze.dim squeeze.dims stack.default swapaxes.default
swapdims.default t.default take_along_dim.default tensor_split.indices tensor_split.sections tile.default
transpose.int tril.default triu.default unbind.int unflatten.int unfold.default unsqueeze.default
unsafe_chunk.default unsafe_split.Tensor view.default view.dtype view_as.default
"""

_CREATION = """
arange.default arange.start arange.start_step eye.default full.default full_like.default linspace.default
meshgrid.default meshgrid.indexing new_full.default new_ones.default new_zeros.default ones.default
ones_like.default scalar_tensor.default zero_.default zeros.default zeros_like.default
"""

_CONVERSION = """
_to_copy.default _unsafe_view.default to.device to.dtype to.dtype_layout to.other type_as.default
"""

_SIZED = """
adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_avg_pool3d.default broadcast_to.default
expand.default repeat.default repeat_interleave.self_int tile.default
"""

ALLOCATING = frozenset(f"aten.{name}" for names in (_CREATION, _RESAMPLING, _SIZED) for name in names.split())
"""Operators whose literal sizes decide how much they allocate; a document's sizes for them are bounded."""

_SIZE_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "size.of": lambda tensor, dim: tensor.shape[dim],
    "size.add": operator.add,
    "size.sub": operator.sub,
    "size.mul": operator.mul,
    "size.floordiv": operator.floordiv,
    "size.truediv": operator.truediv,
    "size.mod": operator.mod,
    "size.neg": operator.neg,
    "size.max": torch.sym_max,
    "size.min": torch.sym_min,
    "size.float": torch.sym_float,
    "size.int": torch.sym_int,
    "item": operator.getitem,
}

_LISTS = (
    _ARITHMETIC,
    _COMPARISON,
    _ACTIVATION,
    _CONVOLUTION,
    _NORMALISATION,
    _POOLING,
    _LINEAR,
    _REDUCTION,
    _RESAMPLING,
    _SHAPE,
    _CREATION,
    _CONVERSION,
)


def size_operators() -> Mapping[str, Callable[..., Any]]:
    """Arithmetic on sizes, which keeps the batch free, and ``item``, which takes one of several results."""
    return _SIZE_OPERATORS


@cache
def aten_operators() -> Mapping[str, OpOverload]:
    """The allowed aten overloads by name, such as ``aten.add.Tensor``, as this torch has them."""
    found = {}
    for name in (name for names in _LISTS for name in names.split()):
        packet, overload = name.split(".")
        known = getattr(torch.ops.aten, packet, None)
        if known is not None and overload in known.overloads():
            found[f"aten.{name}"] = getattr(known, overload)
    return found


def name_of_aten(target: object) -> str:
    """The name a document has for what a graph calls: ``aten.add.Tensor``, or ``size.mul`` for sizes."""
    if target is torch.ops.aten.sym_size.int:
        return "size.of"
    for name, function in _SIZE_OPERATORS.items():
        if target is function:
            return name
    return str(target)
