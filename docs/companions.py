"""What machines read of the project, made from what people keep: `python docs/companions.py`.

codemeta.json and .zenodo.json from CITATION.cff and pyproject.toml, and the tables of LOG.md from
the runs of record. Nothing of these is written by hand; tests/test_companions.py tells what is old.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from maclcore import METRICS, Config, paths
from maclcore.evaluation.reference import REFERENCES
from maclcore.evaluation.statistics import REPLICATE
from maclcore.experiments import winner
from maclcore.losses import method_label
from maclcore.store import packed

#: where the tables of LOG.md begin; what stands above them is written by hand
TABLES = "<!-- made by docs/companions.py from results/packed; what stands below is renewed -->\n"
SHOWN = ("mAP(sim)@5000", "mAP@0.8", "nDCG@100")
TOLD = "macro mAP"  #: of labels, where a training tells these


def sources() -> tuple[dict[str, Any], dict[str, Any]]:
    """CITATION.cff, and the project's table of pyproject.toml."""
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return citation, tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]


def codemeta() -> dict[str, Any]:
    citation, project = sources()
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": project["name"],
        "alternateName": citation["title"],
        "description": project["description"],
        "version": project["version"],
        "license": f"https://spdx.org/licenses/{citation['license']}",
        "author": [_agent(one) for one in citation["authors"]],
        "keywords": citation["keywords"],
        "programmingLanguage": "Python",
        "runtimePlatform": f"Python {project['requires-python']}",
        "softwareRequirements": project["dependencies"],
        "referencePublication": [_article(one) for one in citation["references"]],
    }


def zenodo() -> dict[str, Any]:
    citation, project = sources()
    return {
        "title": citation["title"],
        "description": project["description"] + ".",
        "upload_type": citation["type"],
        "version": project["version"],
        "license": citation["license"],
        "creators": [{"name": _name(one)} for one in citation["authors"]],
        "keywords": citation["keywords"],
        "related_identifiers": [
            {"identifier": one["url"], "relation": "isSupplementTo"}
            for one in citation["references"]
        ],
    }


def _name(person: Mapping[str, str]) -> str:
    return person.get("name") or f"{person['family-names']}, {person['given-names']}"


def _agent(person: Mapping[str, str]) -> dict[str, str]:
    """Somebody with names is a person; who has one name alone, an organisation."""
    if "name" in person:
        return {"@type": "Organization", "name": person["name"]}
    names = {"givenName": person["given-names"], "familyName": person["family-names"]}
    return {"@type": "Person", **names}


def _article(reference: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "ScholarlyArticle",
        "name": reference["title"],
        "author": [_agent(one) for one in reference["authors"]],
        "datePublished": str(reference["year"]),
        "url": reference["url"],
    }


# --- LOG.md --------------------------------------------------------------------------------------


def log() -> str:
    """LOG.md with the tables that the packs give; what is written by hand stays."""
    written = (paths.ROOT / "LOG.md").read_text(encoding="utf-8").split(TABLES)[0]
    packs = packed.packs(paths.ROOT / "results")
    return written + TABLES + "".join(f"\n{_section(pack)}" for pack in packs) + f"\n{_trials()}"


def _trials() -> str:
    """A table of what was tried to choose settings for `winner`, on validation parts."""
    trials = pd.read_csv(paths.ROOT / "results" / winner.FILE)
    means = trials.groupby(["loss", "setting"])[list(METRICS)].mean() * 100
    splits = trials.groupby(["loss", "setting"]).size()
    lines = [
        "## winner_choice\n",
        f"{len(trials)} runs of {len(means)} settings (`results/{winner.FILE}`): validation parts "
        f"of splits {winner.CHOICE[0]} to {winner.CHOICE[-1]}, head only, {winner.SHORT['epochs']} "
        f"epochs at {winner.SHORT['image_size']} px. `winner` trains the first of a loss.\n",
        f"| setting | runs | {' | '.join(f'`{name}`' for name in METRICS)} |",
        "|---" * (len(METRICS) + 2) + "|",
    ]
    for loss, setting in sorted(
        means.index, key=lambda key: (key[0], -splits[key], -means.loc[key].mean())
    ):
        given = [f"{k.replace('_', ' ')} {v}" for k, v in json.loads(setting).items()]
        words = re.sub(r"(?<= )-(?=[\d.])", "−", ", ".join([method_label(loss), *given]))
        values = " | ".join(f"{value:.1f}" for value in means.loc[loss, setting])
        lines.append(f"| {words} | {splits[loss, setting]} | {values} |")
    return "\n".join(lines) + "\n"


def _section(pack: packed.Pack) -> str:
    """A table of a pack: a line a setting, its runs, and the means of what was measured."""
    rows = pd.DataFrame(_settings(pack))
    columns = [name for name in (*SHOWN, TOLD) if name in rows]
    cells = rows.groupby("setting", sort=False)[columns]
    mean, deviation, runs = cells.mean(), cells.std(), cells.size()
    best = columns[-1] if TOLD in columns else "nDCG@100"
    lines = [
        f"## {pack.file.stem}\n",
        f"{len(rows)} runs of {len(runs)} settings.\n",
        f"| setting | runs | {' | '.join(f'`{name}`' for name in columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for setting in mean.sort_values(best, ascending=False, kind="stable").index:
        values = [_cell(mean.loc[setting, name], deviation.loc[setting, name]) for name in columns]
        lines.append(f"| {setting} | {runs[setting]} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _cell(mean: float, deviation: float) -> str:
    spread = "" if pd.isna(deviation) else f" ± {100 * deviation:.1f}"
    return "" if pd.isna(mean) else f"{100 * mean:.1f}{spread}"


def _settings(pack: packed.Pack) -> Iterator[dict[str, Any]]:
    """Of each run its setting in words, of what differs within the pack, and what was measured."""
    results = [json.loads(text) for text in pack.column("result.json").values()]
    configs = [_flat({**Config().to_dict(), **result["config"]}) for result in results]
    table = pd.DataFrame(configs).drop(columns=[*REPLICATE, "loss", "precision"])
    varied = [name for name in table if table[name].nunique(dropna=False) > 1]
    for result, config in zip(results, configs, strict=True):
        loss, reference = config["loss"], config["loss"] in REFERENCES
        told = [f"{name} {config[name]}" for name in varied if name in config and not reference]
        words = ", ".join([method_label(loss), *told])
        values = {**result["metrics"], **result.get("scores", {})}
        yield {
            "setting": re.sub(r"(?<= )-(?=[\d.])", "−", words),
            **{name: values[name] for name in (*METRICS, TOLD) if name in values},
        }


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    """A configuration with the entries of its mappings beside its other fields, as text."""
    flat = {}
    for name, value in config.items():
        entries = value if isinstance(value, Mapping) else {name: value}
        flat |= {key: str(entry) for key, entry in entries.items()}
    return flat


def files() -> dict[Path, str]:
    """What each file should hold."""
    structured = {"codemeta.json": codemeta(), ".zenodo.json": zenodo()}
    texts = {
        name: json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        for name, value in structured.items()
    }
    return {paths.ROOT / name: text for name, text in {**texts, "LOG.md": log()}.items()}


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, encoding="utf-8")
        print(file)
