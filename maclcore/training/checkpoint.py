"""The state of a training after its last two epochs, in two files written by turns.

The file of the epoch before is never touched, so that one of them is whole whatever happens. Each
carries a checksum, and what does not agree with it is reported and left aside.
"""

import json
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from maclcore import store

Modules = Mapping[str, nn.Module]


class CheckpointWarning(UserWarning):
    """A checkpoint that cannot be used, and what is done instead."""


def save(
    folder: Path, run_id: str, history: list, modules: Modules, optimizer: torch.optim.Optimizer
) -> None:
    """Everything that the epoch after `history` depends on; `run_id` says whose it is.

    Raises OSError if it cannot be written; the checkpoint of the epoch before stays.
    """
    tensors = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for i, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{i}.{key}"] = value
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"run_id": run_id, "history": json.dumps(history)}
    metadata["crc32"] = _checksum(tensors, metadata)
    file = folder / f"checkpoint-{len(history) % 2}.safetensors"
    try:
        store.write_tensors(file, tensors, metadata)
    except OSError as error:
        raise OSError(
            f"epoch {len(history)} of {run_id} could not be saved ({error}); the state of the "
            f"epoch before stays. Make {folder} writable, with room for {file.name}, and repeat "
            "the command: it goes on from there"
        ) from error


def restore(
    folder: Path, run_id: str, modules: Modules, optimizer: torch.optim.Optimizer
) -> list[dict]:
    """Put the newest whole state into `modules` and `optimizer`; its history, [] if there is none.

    Warns (CheckpointWarning) of a damaged file. Raises ValueError for the state of another run.
    """
    states = []
    for file in sorted(folder.glob("checkpoint-?.safetensors")):
        try:
            tensors, metadata = _read(file)
        except (SafetensorError, ValueError, KeyError, OSError) as error:
            what = f"{file} is damaged ({error}), by a disk or a copy"
            warnings.warn(f"{what}; going on without it", CheckpointWarning, stacklevel=2)
            continue
        if metadata["run_id"] != run_id:
            raise ValueError(f"{file} belongs to run {metadata['run_id']}; delete it")
        states.append((metadata["history"], tensors))
    if not states:
        return []
    history, tensors = max(states, key=lambda state: len(state[0]))
    for name, module in modules.items():
        prefix = f"{name}."
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(part)
    for i, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optimizer.{i}."
        for key in [k for k in tensors if k.startswith(prefix)]:
            value = tensors[key].to(parameter.device)
            if value.shape == parameter.shape:  # in the parameter's own memory format
                value = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter][key.removeprefix(prefix)] = value
    return history


def remove(folder: Path) -> None:
    for file in folder.glob("checkpoint*.safetensors"):
        file.unlink()


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    if _checksum(tensors, metadata) != metadata["crc32"]:
        raise ValueError("its checksum does not agree")
    return tensors, {**metadata, "history": json.loads(metadata["history"])}


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    value = zlib.crc32(f"{metadata['run_id']} {metadata['history']}".encode())
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].numpy(), zlib.crc32(name.encode(), value))
    return f"{value:08x}"


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
