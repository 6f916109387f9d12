"""The pages of the API: the public names, and a page for each room of the package."""

import pkgutil
from importlib import import_module

import maclcore

#: modules that others import from, though their room does not list them
OTHERS = ("maclcore.data.sampler", "maclcore.training.distributed")
PUBLIC = """The API
=======

Public names are imported from ``maclcore``; each stage of the work is a room of the package, which
knows those before it alone.

.. toctree::
   :maxdepth: 1
   :caption: Rooms

   {rooms}

.. currentmodule:: maclcore

{names}
"""


def pages() -> dict[str, str]:
    """reStructuredText of the public names and of each room, by the name of the page."""
    rooms = {"ground": []}
    for module in pkgutil.walk_packages(maclcore.__path__, "maclcore."):
        parts = module.name.split(".")[1:]
        private = any(part.startswith("_") for part in parts)
        if private or parts[0] in ("results", "commands"):  # `--help` has these
            continue
        room = parts[0] if len(parts) > 1 or module.ispkg else "ground"
        rooms.setdefault(room, []).append(module.name)
    shown = {id(getattr(maclcore, name)) for name in maclcore.__all__}
    texts = {name: _room(name, modules, shown) for name, modules in rooms.items()}
    names = "\n".join(map(_public, maclcore.__all__))
    return texts | {"index": PUBLIC.format(rooms="\n   ".join(rooms), names=names)}


def _public(name: str) -> str:
    value = getattr(maclcore, name)
    if isinstance(value, type):
        return f".. autoclass:: {name}\n"
    if callable(value):
        return f".. autofunction:: {name}\n"
    home = f"maclcore.{maclcore._HOME[name]}"
    return f".. py:data:: {name}\n\n   Of :py:mod:`{home}`.\n"


def _room(name: str, modules: list[str], shown: set[int]) -> str:
    """A room that lists its names shows these, but for those that are `shown` already, and what is
    in its files in words; another shows all."""
    title = "The ground floor" if name == "ground" else f"maclcore.{name}"
    parts = [f"{title}\n{'=' * len(title)}\n"]
    lists = hasattr(import_module(modules[0]), "__all__")
    for module in modules:
        one = import_module(module)
        values = {name: getattr(one, name) for name in getattr(one, "__all__", ())}
        again = [name for name, value in values.items() if id(value) in shown]
        shown.update(map(id, values.values()))
        members = values or not lists or module in OTHERS
        options = "   :members:\n" if members else "   :no-index:\n"
        options += f"   :exclude-members: {', '.join(again)}\n" if again else ""
        heading = f"{module}\n{'-' * len(module)}\n\n" if module != title else ""
        parts.append(f"{heading}.. automodule:: {module}\n{options}")
    return "\n".join(parts)
