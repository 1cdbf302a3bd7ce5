"""Which tensors of a model a traced program uses, under which qualified names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

__all__ = ["TracedNames"]


@dataclass(frozen=True, slots=True)
class _Named:
    tensor: Tensor
    is_buffer: bool
    saved: bool


class TracedNames:
    """The names of a traced program's tensors.

    A tensor may have several names: a shared module, tied weights, two parameters on the same memory. All of them
    are known here; the first in the model's own order stands for the tensor.

    Args:
        program: the traced program.
        model: the model it was traced from.
    """

    def __init__(self, program: ExportedProgram, model: nn.Module) -> None:
        self._tensors = _named_tensors(program, model)
        groups: dict[object, list[str]] = {}
        for name, named in self._tensors.items():
            groups.setdefault(_memory(named), []).append(name)
        self._names = {name: tuple(group) for group in groups.values() for name in group}
        self._modules: dict[int, str] = {}
        self.module_names: dict[str, str] = {}
        """Every module's every name → its first name."""
        for name, module in model.named_modules(remove_duplicate=False):
            self.module_names[name] = self._modules.setdefault(id(module), name)
        self._inputs: dict[str, int] = {}
        self._placeholders: dict[str, str] = {}
        for spec in program.graph_signature.input_specs:
            if spec.kind is InputKind.USER_INPUT:
                self._inputs[spec.arg.name] = len(self._inputs)
            elif spec.target is not None:
                self._placeholders[spec.arg.name] = spec.target

    def input_index(self, node: Node) -> int | None:
        """Which of the program's inputs the node is."""
        return self._inputs.get(node.name) if node.op == "placeholder" else None

    def names_of(self, node: object) -> tuple[str, ...]:
        """All names of the tensor that the node stands for; none where it is no tensor of the model."""
        if not isinstance(node, Node) or node.op != "placeholder":
            return ()
        return self._names.get(self._placeholders.get(node.name, ""), ())

    def group(self, name: str) -> tuple[str, ...]:
        """All names of the tensor of this name."""
        return self._names[name]

    def inside(self, module: str) -> set[str]:
        """The names, relative to the module, of every tensor in it and below."""
        prefix = f"{module}."
        return {name.removeprefix(prefix) for name in self._tensors if name.startswith(prefix)}

    def tensor(self, name: str) -> Tensor:
        """The tensor of this name."""
        return self._tensors[name].tensor

    def is_buffer(self, name: str) -> bool:
        """Whether it is a buffer or constant, and not a parameter."""
        return self._tensors[name].is_buffer

    def is_saved(self, name: str) -> bool:
        """Whether the model's ``state_dict`` holds it."""
        return self._tensors[name].saved


def _named_tensors(program: ExportedProgram, model: nn.Module) -> dict[str, _Named]:
    saved = model.state_dict(keep_vars=True).keys()
    found = {
        name: _Named(parameter, is_buffer=False, saved=True)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }
    for name, buffer in model.named_buffers(remove_duplicate=False):
        found[name] = _Named(buffer, is_buffer=True, saved=name in saved)
    for name, constant in program.constants.items():
        if isinstance(constant, Tensor) and name not in found:
            found[name] = _Named(constant, is_buffer=True, saved=False)
    return found


def _memory(named: _Named) -> object:
    tensor = named.tensor
    if tensor.numel() == 0:
        return id(tensor)
    place = (tensor.device, tensor.data_ptr(), tensor.dtype)
    return (*place, tuple(tensor.shape), tuple(tensor.stride()), named.is_buffer)
