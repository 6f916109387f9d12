"""What the core leaves out: the extras, and the error that names a missing one.

The core is torch, numpy, pandas and scipy: configurations, label statistics, losses and metrics. A
room or module that imports more asks for its extra first.
"""

from importlib.util import find_spec

#: each extra of pyproject.toml and the modules of its packages
EXTRAS = {
    "train": (
        "PIL", "filelock", "openpyxl", "pooch", "pyarrow", "requests", "safetensors", "sklearn",
        "timm", "torchvision", "tqdm", "tyro",
    ),
    "geo": ("rasterio", "zarr"),
    "plots": ("IPython", "PIL", "matplotlib", "plotly", "seaborn"),
    "notebooks": (
        "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core", "jupyterlab", "nbformat",
        "papermill", "traitlets", "voila", "zmq",
    ),
    "cluster": ("dask", "dask_jobqueue", "distributed"),
    "search": ("lancedb",),
    "docs": ("latex2mathml", "myst_nb", "rocrate", "sphinx", "sphinx_book_theme"),
    "tensorboard": ("tensorboard",),
}  # fmt: skip


def need(extra: str, who: str) -> None:
    """ImportError unless the extra is installed, of which `who` has need."""
    if missing := [module for module in EXTRAS[extra] if find_spec(module) is None]:
        raise ImportError(
            f"{who} needs the extra {extra!r}: pip install 'maclcore[{extra}]' "
            f"(missing: {', '.join(missing)})",
            name=missing[0],
        )
