"""torch tensors in main memory: those that share a storage still do, also with numpy arrays."""

from __future__ import annotations

from typing import Any

from nbrw_runtime.codec_numpy import root_of
from nbrw_runtime.codec_refused import Unstorable


class _Storage:
    """Stands for the storage of tensors, one for each in a dump."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce__(self) -> Any:
        return make_storage, (self.memory,)


def handler_of(kind: type) -> Any:
    """For tensors and generators; None for all else."""
    import torch

    if issubclass(kind, torch.Tensor):
        return _reduce_tensor
    if kind is torch.Generator:
        return _reduce_generator
    return None


def _reduce_generator(pickler: Any, generator: Any) -> Any:
    import torch

    if generator is torch.default_generator:
        from nbrw_runtime.codec_kinds import constant

        return constant(pickler, generator, "torch", "default_generator")
    if generator.device.type != "cpu":
        raise Unstorable("a random generator of a GPU cannot be stored")
    state = generator.get_state().numpy().tobytes()
    return make_generator, (state, generator.initial_seed())


def make_generator(state: bytes, seed: int) -> Any:
    """A generator in this state."""
    import torch

    made = torch.Generator().manual_seed(seed)
    made.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return made


def _reduce_tensor(pickler: Any, tensor: Any) -> Any:
    import torch

    kind = type(tensor)
    if kind is not torch.Tensor and kind is not torch.nn.Parameter:
        return NotImplemented
    if tensor.device.type != "cpu":
        raise Unstorable(f"a tensor on {tensor.device.type} cannot be stored")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype == torch.complex32:
        return NotImplemented
    if not tensor.is_leaf:
        raise Unstorable("a tensor that is the result of a calculation with gradients")
    if tensor._backward_hooks or tensor.is_conj() or tensor.is_neg():
        return NotImplemented
    storage = _storage_of(pickler, tensor)
    shape = (tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()))
    attributes = dict(tensor.__dict__)
    state = (tensor.grad, attributes)
    args = (storage, tensor.dtype, *shape, tensor.requires_grad, kind is torch.nn.Parameter)
    return make_tensor, args, state, None, None, set_tensor


def _storage_of(pickler: Any, tensor: Any) -> Any:
    """The one object in this dump that stands for the memory that a tensor uses."""
    import torch

    storage = tensor.untyped_storage()
    where = (storage.data_ptr(), storage.nbytes())
    known = pickler.kept.get(("storage", where))
    if known is None:
        memory = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
        array = memory.numpy() if storage.nbytes() else memory.numpy().copy()
        shared = _shared_array(pickler, storage)
        known = _Storage(array if shared is None else shared)
        pickler.kept[("storage", where)] = known
        pickler.kept[("array", where)] = array
        if shared is None:
            pickler.apart[id(array)] = array
    # Names whose tensors use one storage are one group: the storage is one object for all.
    key = -storage.data_ptr() or -1
    if storage.nbytes():
        pickler.roots.setdefault(key, (storage, set()))[1].add(id(tensor))
    return known


def _shared_array(pickler: Any, storage: Any) -> Any:
    """A view on the array of the notebook that has this memory (``torch.from_numpy``), if any.

    Looked for among the values of names, and what was met in this dump.
    """
    import numpy

    if storage.resizable() or not storage.nbytes():
        return None
    start, size = storage.data_ptr(), storage.nbytes()
    found = [value for value in pickler.context.namespace.values() if type(value) is numpy.ndarray]
    roots = [root for root, _ in pickler.roots.values() if type(root) is numpy.ndarray]
    for array in [*roots, *map(root_of, found)]:
        begin = array.__array_interface__["data"][0]
        if begin <= start and start + size <= begin + array.nbytes and array.dtype.kind != "O":
            flat = array.ravel(order="K").view(numpy.uint8)
            if flat.__array_interface__["data"][0] == begin:
                return flat[start - begin : start - begin + size]
    return None


def make_storage(memory: Any) -> Any:
    """The bytes of a storage, as a tensor."""
    import torch

    return torch.from_numpy(memory)


def make_tensor(
    memory: Any, dtype: Any, offset: int, shape: Any, stride: Any, gradient: bool, parameter: bool
) -> Any:
    """A tensor on this memory."""
    import torch

    made = torch.empty(0, dtype=dtype)
    made.set_(memory.untyped_storage(), offset, shape, stride)  # type: ignore[call-overload]
    if parameter:
        return torch.nn.Parameter(made, requires_grad=gradient)
    return made.requires_grad_(gradient) if gradient else made


def set_tensor(tensor: Any, state: Any) -> None:
    """The gradient and the attributes of a tensor."""
    grad, attributes = state
    if grad is not None:
        tensor.grad = grad
    tensor.__dict__.update(attributes)
