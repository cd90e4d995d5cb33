"""The stories beside the examples, in words."""

from __future__ import annotations

from collections.abc import Mapping

from nls_core.analysis.examples import Seen, Story
from nls_core.views.sentences import percent, role

STORIES = {  # kind -> what its button is called
    "flips": "One that flips",
    "overconfident": "Sure and wrong",
    "elsewhere": "Looks away",
}


def story(kind: str, label: str, seen: Mapping[str, Seen], told: Story) -> str:
    """What was measured of an example that shows `kind`; `label` is its true class.

    Args:
        kind: a key of `STORIES`.
        label: the true class.
        seen: model id -> what it says, baseline first.
        told: the story, of these models.
    """
    if kind == "elsewhere":
        at, (name, least) = min(enumerate(told.focus.items()), key=lambda each: each[1][1])
        return (
            f"The {role(at)} is {percent(seen[name].confidence)} sure, rightly, but only "
            f"{percent(least)} of its map lies on the object."
        )
    if kind == "overconfident":
        at, first = max(enumerate(seen.values()), key=lambda each: _wrongly(each[1], label))
        return (
            f"The {role(at)} is {percent(first.confidence)} sure that it is {first.label}; in "
            f"truth it is {label}."
        )
    turns = (
        f"the {role(i)} "
        + (f"at {each.flip:.2g}/255" if each.flip else f"not up to {each.most:g}/255")
        for i, each in enumerate(seen.values())
    )
    return f"Noise turns {', '.join(turns)}."


def _wrongly(each: Seen, label: str) -> float:
    return each.confidence if each.label != label else 0.0
