"""Images for batch after batch, from an archive of any size, read ahead of their use."""

import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

AHEAD = 2  # batches that are read while another is in use
DEVICE_SHARE = 0.4  # of a GPU's free memory: what an archive may take to be kept there


class Images:
    """Images (N, C, H, W) uint8; `images[index]` are those of an index (B,), on `device`.

    The rows of a memory-mapped array, such as an archive's, are read from its file by position and
    never through the map, so that memory is that of some batches, whatever N is, and the system's
    own cache of files makes an archive that fits into memory as fast as one held there. (Windows
    cannot, and reads through the map.) `keep`: a GPU that has the room is given all images once.
    OSError if the file is cut short.
    """

    def __init__(self, images: Any, device: torch.device | str = "cpu", keep: bool = False) -> None:
        if not isinstance(images, np.ndarray):
            images = torch.as_tensor(images)
        self.images, self.shape = images, tuple(images.shape)
        self.device = torch.empty(0, device=device).device  # with its number
        self.file, self.copies, self.held, self.slots = None, None, None, {}
        mapped = isinstance(images, np.memmap) and images.flags.c_contiguous
        if mapped and hasattr(os, "preadv"):
            root = images
            while isinstance(root.base, np.memmap):
                root = root.base
            self.offset = root.offset + images.ctypes.data - root.ctypes.data
            self.file = os.open(images.filename, os.O_RDONLY)  # it may be deleted meanwhile
            weakref.finalize(self, os.close, self.file)
        if self.device.type == "cuda":
            if keep and images.nbytes < DEVICE_SHARE * torch.cuda.mem_get_info(self.device)[0]:
                self.images = torch.cat([self._read(i) for i in torch.arange(len(self)).split(256)])
            self.copies = torch.cuda.Stream(self.device)  # beside what the device computes
        self.resident = isinstance(self.images, Tensor) and self.images.device == self.device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        if self.resident:
            return self.images[index.to(self.device)]
        slots = [self.slots.get(i) for i in index.tolist()]
        pixels = self.held
        if pixels is None or None in slots:
            pixels, slots = self._read(index), slice(None)
        if self.copies:  # made by one stream, not to be freed before the other is done with it
            pixels.record_stream(torch.cuda.current_stream(self.device))
        return pixels[slots]

    def ahead(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The batches' indices (B,) again, each when its images are here and later ones on the way.

        `images[index]` is then a copy in memory for any index of images of this batch; of others
        it reads.
        """
        if self.resident:
            yield from batches
            return
        with ThreadPoolExecutor(1) as reader:
            coming = deque()
            for batch in batches:
                coming.append((batch, reader.submit(self._read, batch)))
                if len(coming) > AHEAD:
                    yield self._hold(*coming.popleft())
            while coming:
                yield self._hold(*coming.popleft())
        self.held, self.slots = None, {}

    def _hold(self, batch: Tensor, pixels: Any) -> Tensor:
        self.held = pixels.result()
        self.slots = {row: slot for slot, row in enumerate(batch.tolist())}
        return batch

    def _read(self, index: Tensor) -> Tensor:
        """The rows `index` on the device; only this thread waits for them."""
        if isinstance(self.images, Tensor):
            pixels = self.images[index.to(self.images.device)]
        elif self.file is None:
            pixels = torch.from_numpy(self.images[index.cpu().numpy()])
        else:
            rows = np.empty((len(index), *self.shape[1:]), self.images.dtype)
            for row, i in zip(rows, index.tolist(), strict=True):
                start = self.offset + range(len(self))[i] * row.nbytes
                if os.preadv(self.file, [row], start) < row.nbytes:
                    raise OSError(f"{self.images.filename} is cut short at row {i}; delete it")
            pixels = torch.from_numpy(rows)
        if self.copies is None:
            return pixels.to(self.device)
        with torch.cuda.stream(self.copies):
            return (pixels if pixels.is_cuda else pixels.pin_memory()).to(self.device)
