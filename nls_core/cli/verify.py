"""`nls verify`: measure shipped models anew and compare with the committed raw results."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from nls_core import families, zoo
from nls_core.cli.evaluate import ONLY, chosen_parts, measure_all
from nls_core.cli.terminal import err
from nls_core.errors import CheckpointError, InvalidInput, NLSLabError, need
from nls_core.evidence import agreement, collect, commands
from nls_core.evidence.collect import Store
from nls_core.evidence.findings import markdown
from nls_core.evidence.groups import Group
from nls_core.evidence.parts import USUAL
from nls_core.settings import Settings

FIRST = next(iter(families.FAMILIES))


def command(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Model ids; none means all of the family.")
    ] = None,
    *,
    family: Annotated[str, typer.Option(help="Whose models, where no id is given.")] = FIRST,
    only: Annotated[str | None, typer.Option(help=ONLY)] = None,
) -> None:
    """Measure stored models again, from the weights, and compare with the committed results.

    Nothing that was measured before is read. All parts of a model take five minutes on one core.
    """
    need("train", "torchmetrics")
    settings = Settings()
    parts = chosen_parts(only) or USUAL
    asked = ids or list(zoo.available(settings.models_dir, family))
    if not asked:
        raise CheckpointError(f"no models of {family} in {settings.models_dir}")
    for name in asked:
        if families.protocol_of(name) == families.OUT_OF_FOLD:
            raise InvalidInput(
                f"{name} was measured out of fold, by networks that are not kept; "
                f"`{commands.measure(name.split('/')[0])}` makes its figures again"
            )
    group = collect.subjects(asked, settings)
    kept = {
        name: agreement.read(subject.manifest, settings.models_dir)
        for name, subject in group.items()
    }
    off: list[str] = []
    for name, subject in group.items():
        with tempfile.TemporaryDirectory() as scratch:
            found = measure_all(Group({name: subject}, parts), Store(Path(scratch)))[name]
        table, lines = agreement.compare(collect.to_json(found), kept[name])
        typer.echo(f"{name}, seed {found.manifest.seed}\n\n{markdown(table)}\n")
        off += [f"{name}: {line}" for line in lines]
    for line in off:
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    if off:
        raise NLSLabError(f"figures that differ from the committed results: {len(off)}")
