"""``--cache-from``: steps that other images were made by, told by their history and layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sharedrt.services.builds.state import StageState
from sharedrt.services.images import Composer, Image, NewLayer


class CacheImages:
    """The images that a client trusts, in order."""

    def __init__(self, images: Sequence[Image], composer: Composer) -> None:
        self._images, self._composer = images, composer
        self._layers: dict[int, list[NewLayer]] = {}

    async def after(
        self, state: StageState, description: str, config: Mapping[str, Any]
    ) -> StageState | None:
        """The state that the step led to in one of them: its history so far and its layers are this state's, and the
        next entry is this step.

        Args:
            config: as it is after the step.
        """
        count = len(state.history)
        for number, image in enumerate(self._images):
            raw: Any = image.config.raw
            history = raw.get("history") if isinstance(raw, dict) else None
            if not isinstance(history, list) or len(history) <= count:
                continue
            entry = history[count]
            if not isinstance(entry, dict) or entry.get("created_by") != description:
                continue
            if [_what(item) for item in history[:count]] != [_what(i) for i in state.history]:
                continue
            mine = [layer.diff_id for layer in state.layers]
            theirs = list(image.config.diff_ids)
            if theirs[: len(mine)] != mine:
                continue
            layer = None
            if not entry.get("empty_layer"):
                if len(theirs) <= len(mine):
                    continue
                layer = (await self._kept(number))[len(mine)]
            return state.after(
                str(entry.get("created") or ""), description, config=config, layer=layer
            )
        return None

    async def _kept(self, number: int) -> list[NewLayer]:
        if number not in self._layers:
            self._layers[number] = await self._composer.base(self._images[number])
        return self._layers[number]


def _what(entry: object) -> tuple[object, bool]:
    if not isinstance(entry, dict):
        return (None, False)
    return entry.get("created_by"), bool(entry.get("empty_layer"))
