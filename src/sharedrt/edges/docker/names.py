"""Names for containers that were given none: an adjective and a noun."""

import secrets
from typing import Final

_ADJECTIVES_TEXT = (
    "amber ample apt azure bold brave breezy bright brisk calm candid clever cosy crisp "
    "curious deft eager early earnest easy fair fancy fleet fluent fond frank fresh gentle "
    "glad golden grand happy hardy honest humble jolly keen kind lively lucid lucky mellow "
    "merry mild modest neat nimble noble patient plain plucky polite prompt proud quick quiet "
    "rapid ready rustic serene sharp silent silver simple sleek smart snug sober steady stout "
    "sturdy sunny swift tender tidy tranquil trusty upbeat vivid warm wary wise witty young "
    "zesty"
)
_ADJECTIVES: Final = tuple(_ADJECTIVES_TEXT.split())
_NOUNS_TEXT = (
    "acorn alder anchor aspen badger barge basalt beacon beaver birch bison bramble breeze "
    "brook canyon cedar cobalt comet coral cove crane creek cricket delta dune eagle elm "
    "ember falcon fern finch fjord fox garnet glacier granite grove gull harbor hare hazel "
    "heron hill ibis inlet island ivy jay juniper kestrel lagoon lantern lark ledge lichen "
    "lily linden lynx magpie maple marsh meadow mesa moss oak orchard osprey otter owl pebble "
    "pine plover pond prairie quail quartz raven reef ridge river robin rowan sable sage "
    "shore sparrow spruce stone stork summit swan teal thicket thrush tide tulip valley "
    "walnut warbler willow wren yarrow"
)
_NOUNS: Final = tuple(_NOUNS_TEXT.split())


def random_name(attempt: int = 0) -> str:
    """``calm_otter``; with a digit behind it from the second attempt on."""
    name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}"
    return name if attempt == 0 else f"{name}{secrets.randbelow(10 ** min(attempt, 6))}"
