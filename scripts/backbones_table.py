"""Makes docs/backbones.csv and docs/backbones.md: which of timm's families of networks can be staged.

    python scripts/backbones_table.py                    the families that docs/backbones.csv lacks
    python scripts/backbones_table.py eva volo           these, again

A family is a module of timm. Of its networks, the smallest is tried, then the next, until one can be staged for pictures of
128 x 250; where three cannot, the reason is that of the smallest. Some two hours on one core for all of them.
"""

import csv
import gc
import sys
from pathlib import Path
from typing import Any

import timm
import torch

from tla.errors import UserError
from tla.nets.backbones import SHAPE, TIMM, build
from tla.nets.stages import describe
from tla.options import STAGES

DOCS = Path(__file__).parent.parent / "docs"
TRIED = 3
CLASSES = 10
MARK = "<!-- The rest is made by scripts/backbones_table.py. -->\n"
COLUMNS = ["family", "member", "made_for", "shapes", "parameters", "multiply_adds", "why_not"]


def smallest(family: str) -> list[str]:
    """Networks of a family, the smallest first; those that cannot be made without numbers last."""
    sizes = {}
    for name in timm.list_models(module=family):
        try:
            with torch.device("meta"):
                sizes[name] = sum(p.numel() for p in timm.create_model(name, num_classes=CLASSES).parameters())
        except (RuntimeError, NotImplementedError, ValueError, AssertionError, TypeError):
            sizes[name] = sys.maxsize
    return sorted(sizes, key=lambda name: (sizes[name], name))


def tried(family: str) -> dict[str, Any]:
    """A row of the table."""
    reasons: dict[str, str] = {}
    for name in smallest(family)[:TRIED]:
        try:
            net = build(TIMM + name, CLASSES, seed=0)
        except UserError as error:
            reasons[name] = str(error).partition("; otherwise, ")[2] or str(error)
            continue
        rows = describe(net, SHAPE)
        return {
            "family": family,
            "member": name,
            "made_for": " x ".join(map(str, net.takes[1:])) if net.takes else "any",
            "shapes": ", ".join("x".join(map(str, row.shape)) for row in rows if row.stage in STAGES),
            "parameters": ", ".join(str(row.parameters) for row in rows),
            "multiply_adds": sum(row.multiply_adds for row in rows),
        }
    name, why = next(iter(reasons.items()))
    return {"family": family, "member": name, "why_not": why.removeprefix(f"{TIMM}{name} ")}


def text(rows: list[dict[str, str]]) -> str:
    """The tables of the page."""
    good, bad = [row for row in rows if not row["why_not"]], [row for row in rows if row["why_not"]]
    lines = [
        f"Of the {len(rows)} families of timm {timm.__version__}, {len(good)} can be staged.",
        "",
        "| family | member | made for | outputs of stem, block1 to block4 | parameters in thousands | multiply-adds (M) |",
        "|---|---|---|---|---|---|",
    ]
    for row in good:
        thousands = " ".join(f"{int(number) / 1e3:,.0f}" for number in row["parameters"].split(", "))
        cells = [row["family"], row["member"], row["made_for"], row["shapes"].replace(", ", " "), thousands]
        lines.append(f"| {' | '.join(cells)} | {int(row['multiply_adds']) / 1e6:,.0f} |")
    lines += ["", "Not staged:", "", "| family | member | why not |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row['family']} | {row['member']} | {row['why_not']} |" for row in bad), ""])


def main() -> None:
    """Try families and write both files after each."""
    path = DOCS / "backbones.csv"
    with path.open(newline="") as file:
        rows = {row["family"]: row for row in csv.DictReader(file)}
    for family in sys.argv[1:] or [family for family in timm.list_modules() if family not in rows]:
        rows[family] = {**dict.fromkeys(COLUMNS, ""), **{name: str(value) for name, value in tried(family).items()}}
        print(*rows[family].values(), sep="  ", flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[name] for name in sorted(rows))
        page = DOCS / "backbones.md"
        page.write_text(page.read_text().partition(MARK)[0] + MARK + "\n" + text([rows[name] for name in sorted(rows)]))
        gc.collect()


if __name__ == "__main__":
    main()
