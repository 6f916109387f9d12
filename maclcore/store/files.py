"""How a run's files are written, each whole or not at all, and read."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import Tensor

from maclcore import paths

RESULT, IDENTITY, TRANSFER = "result.json", "identity.json", "transfer.json"
PREDICTIONS = "predictions.parquet"


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    with paths.atomic_path(file) as temporary:
        temporary.write_bytes(json_bytes(content))


def write_text(file: Path, text: str) -> None:
    with paths.atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    with paths.atomic_path(file) as temporary:
        temporary.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, an epoch each; [] if there is none."""
    file = folder / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def write_csv(file: Path, table: pd.DataFrame) -> None:
    with paths.atomic_path(file) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def write_table(file: Path, table: pd.DataFrame) -> None:
    """A table of numbers, as float32."""
    with paths.atomic_path(file) as temporary:
        table.astype(np.float32).to_parquet(temporary, compression="zstd")


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}
    with paths.atomic_path(file) as temporary:
        try:
            save_file(arrays, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:  # such as: no space left on device
            raise OSError(f"{file}: {error}") from error


def former_weights() -> dict[str, str]:
    """Names of weights and what they were (`weights_content`), for runs stored without that."""
    file = paths.results_root() / "weights.json"
    return parsed(file.read_text(), file) if file.is_file() else {}


def parsed(text: str | bytes, file: Path) -> dict[str, Any]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); delete its folder and run again") from error


def digest(content: object) -> str:
    """Sixteen digits that stand for `content`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
