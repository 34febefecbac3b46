"""What is explained: a class's logit, that minus another's, or any number that is computed from a module's outputs."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tla.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Target:
    """What is explained: a class's logit, or that minus another's."""

    of: int
    """The index of a class."""
    against: int | None = None
    """That of another."""

    def name(self, classes: Sequence[str]) -> str:
        """As `target` reads it."""
        return classes[self.of] if self.against is None else f"{classes[self.of]}-{classes[self.against]}"

    def value(self, logits: Any) -> Any:
        """The target of logits (n, classes), an array or a tensor: (n,)."""
        return logits[:, self.of] if self.against is None else logits[:, self.of] - logits[:, self.against]


What = Target | Callable[["Tensor"], "Tensor"]  # the latter makes of a module's outputs one number for each input


def target(text: str, classes: Sequence[str]) -> Target:
    """The target that `dog` or `dog-cat` names; a class's own name may hold dashes."""
    if text in classes:
        return Target(classes.index(text))
    cuts = [(text[: dash.start()], text[dash.end() :]) for dash in re.finditer("-", text)]
    found = [(of, against) for of, against in cuts if of in classes and against in classes]
    if not found:
        near = difflib.get_close_matches(text, classes, n=2)
        meant = f" (did you mean {' or '.join(near)}?)" if near else ""
        pair = f"two of them, as in {classes[0]}-{classes[-1]}"
        raise UserError(f"the target {text!r} is no class{meant}; give one of {', '.join(classes)}, or {pair}")
    of, against = found[0]
    if of == against:
        raise UserError(f"the target {text} is a class against itself, which is always 0")
    return Target(classes.index(of), classes.index(against))


def taken(what: What, outputs: "Tensor", count: int) -> "Tensor":
    """The target (count,) of a module's outputs for so many inputs; `UserError` where the two do not fit."""
    shape = tuple(outputs.shape)
    if shape[:1] != (count,):
        raise UserError(f"the module returns {shape} for {count} inputs; it has to return something for each of them")
    if not isinstance(what, Target):
        found = what(outputs)
        got = tuple(getattr(found, "shape", ())) or type(found).__name__
        if got != (count,):
            raise UserError(f"the target makes {got} of outputs {shape}; it has to make one number for each input, ({count},)")
        return found
    if len(shape) != 2:
        raise UserError(
            f"the module returns {shape} for {count} inputs, not (inputs, classes); "
            "give a target that makes of it one number for each input, such as lambda outputs: outputs.mean(-1)"
        )
    for index in (what.of, what.against):
        if index is not None and not 0 <= index < shape[1]:
            raise UserError(f"there is no class {index}: the module returns {shape[1]} of them, so give 0 to {shape[1] - 1}")
    return what.value(outputs)
