"""What comes of what, for machines: an RO-Crate of the site, ro-crate-metadata.json in its folder.

Figure from notebook from packs of runs from archive; the packs lie in the site, too. It is made
with the site and kept nowhere else: it would change with every figure and every run.
"""

import json
import shutil
from pathlib import Path

from companions import sources
from pages import notebooks, title
from rocrate.model.contextentity import ContextEntity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from maclcore import paths
from maclcore.data.readers import READERS
from maclcore.plots.saving import runs_of
from maclcore.store import packed

PARQUET = "application/vnd.apache.parquet"


def write(site: Path) -> None:
    """Copy the packs into the site, and describe what is in it."""
    citation, project = sources()
    crate = ROCrate()
    crate.name, crate.description = project["name"], citation["title"]
    crate.license = f"https://spdx.org/licenses/{citation['license']}"
    places = _packs(crate, site)
    for notebook in notebooks():
        page = f"notebooks/{notebook.stem}.html"
        told = {"name": title(notebook), "encodingFormat": "text/html"}
        told["@type"] = ["File", "SoftwareSourceCode"]
        source = crate.add(File(crate, site / page, page, properties=told))
        for figure in sorted((site / "figures").glob(f"{notebook.name[:2]}-*.png")):
            _figure(crate, figure, source, places)
    claims = {"name": "claims of the papers, with verdicts", "encodingFormat": "text/csv"}
    shutil.copy(paths.ROOT / "results" / "claims.csv", site / "results")
    crate.add(File(crate, site / "results/claims.csv", "results/claims.csv", properties=claims))
    crate.metadata.write(site)


def _packs(crate: ROCrate, site: Path) -> dict[str, File]:
    """The pack, as a file of the crate, that has each run."""
    places, archives = {}, {}
    (site / "results" / "packed").mkdir(parents=True)
    for pack in packed.packs(paths.ROOT / "results"):
        place = f"results/packed/{pack.file.name}"
        shutil.copy(pack.file, site / place)
        told = json.loads(next(iter(pack.column("result.json").values())))
        name, of = told["config"]["archive"], told["archive"]
        if name not in archives:
            archives[name] = crate.add(_archive(crate, name, of["title"], of["fingerprint"]))
        about = {"name": f"{len(pack.groups)} runs: {pack.file.stem}", "encodingFormat": PARQUET}
        file = crate.add(File(crate, pack.file, place, properties=about))
        file["isBasedOn"] = archives[name]
        places |= dict.fromkeys(pack.groups, file)
    return places


def _archive(crate: ROCrate, name: str, title: str, fingerprint: str) -> ContextEntity:
    told = {"@type": "Dataset", "name": title, "identifier": fingerprint}
    if reader := READERS.get(name):
        told |= {"url": reader.page.split(",")[0], "license": reader.licence}
        told["creditText"] = reader.cite
    return ContextEntity(crate, f"#archive-{name}", properties=told)


def _figure(crate: ROCrate, figure: Path, notebook: File, places: dict[str, File]) -> None:
    """A figure and how it came to be: drawn by a notebook, which had read those runs."""
    told = {"name": figure.stem, "encodingFormat": "image/png"}
    file = crate.add(File(crate, figure, f"figures/{figure.name}", properties=told))
    read = list(dict.fromkeys(places[run] for run in runs_of(figure) or [] if run in places))
    file["isBasedOn"] = [notebook, *read]
    made = {"@type": "CreateAction", "name": f"{figure.stem}, drawn by {notebook['name']}"}
    action = crate.add(ContextEntity(crate, f"#drawing-{figure.stem}", properties=made))
    action["instrument"], action["result"], action["object"] = notebook, file, read
    crate.root_dataset.append_to("mentions", action)
