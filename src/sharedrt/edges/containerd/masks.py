"""Update masks: which fields of a message an Update call means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from betterproto.lib.google.protobuf import FieldMask

from sharedrt.model.faults import InvalidArgument


@dataclass(frozen=True, slots=True)
class LabelChange:
    """New labels for an object: all of them, or those of ``keys`` alone."""

    labels: Mapping[str, str]
    keys: tuple[str, ...] | None

    def apply(self, old: Mapping[str, str]) -> dict[str, str]:
        """An empty value removes the label where single ones are named, as containerd does."""
        if self.keys is None:
            return dict(self.labels)
        changed = dict(old)
        for key in self.keys:
            if value := self.labels.get(key, ""):
                changed[key] = value
            else:
                changed.pop(key, None)
        return changed


def label_change(
    mask: FieldMask | None, labels: Mapping[str, str], other: Sequence[str] = ()
) -> tuple[LabelChange | None, frozenset[str]]:
    """What a mask asks for: the change of labels, if any, and which of ``other`` fields are to be set.

    Without a mask all mutable fields are meant.

    Raises:
        InvalidArgument: a path that is neither ``labels``, ``labels.KEY`` nor among ``other``.
    """
    paths = mask.paths if mask is not None else []
    if not paths:
        return LabelChange(labels, None), frozenset(other)
    keys: list[str] = []
    whole, fields = False, set()
    for path in paths:
        if path == "labels":
            whole = True
        elif path.startswith("labels."):
            keys.append(path.removeprefix("labels."))
        elif path in other:
            fields.add(path)
        else:
            raise InvalidArgument("update mask", path, "cannot be updated")
    if whole:
        return LabelChange(labels, None), frozenset(fields)
    return (LabelChange(labels, tuple(keys)) if keys else None), frozenset(fields)
