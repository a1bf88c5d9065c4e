"""Words and arrows that a program carries out, over the network's own motion; which pictures they are for."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor

from sfv.decoding.blinking import Lids, shares
from sfv.decoding.directed import ENDLESS, Body, body_of, carried, hardly_stretched, hops_only, taken, turns_only
from sfv.decoding.dragging import Arrow, dragged
from sfv.decoding.eyes import Eye, rated_eyes
from sfv.decoding.holding import border
from sfv.decoding.inside import Sides, cut_off
from sfv.decoding.one_body import Affine, covered, flow_of
from sfv.decoding.warping import Flow
from sfv.decoding.whereabouts import Places
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.clip import Start, Still
from sfv.generation.fitting import first_pixels
from sfv.generation.framing import cut
from sfv.generation.stiff import Settled
from sfv.media.edits import Mask
from sfv.media.grounds import ALIKE, fills_frame, ground_shades, is_clear, rim
from sfv.settings import CARRIED, Settings, split_arrow
from sfv.types import AnyFirst

STRETCHES = ("pulse", "squash")
"""Words by which a body changes its shape or size."""
CUT_OUT = ("spin", "wave")
"""Words that only a thing on clear or plain ground can follow: all else would turn or bend with it."""
TOUCHING = 0.05
"""Share of an opaque picture's border that its thing may touch and still be cut out."""
NEARBY = 0.04
"""Share of the frame's sides around an arrow's start in which something must be."""
UNLIKELY, SURE = 0.5, 1.2
"""The logit of being stiff above which eyes are not looked for, and the score of eyes less that logit from which a face
blinks by itself: letters, seeds and buttons look like eyes, too."""
CORNER, ROUND = 0.04, 0.6
"""How deep inside, as a share of what is shown, a thing is compared with itself at a side; what gets wider by more than
so many times that has an end there, as a rounded box has."""
SHORTEST = 2.0
"""Seconds of a round from which a face blinks by itself: blinks come once a round at least."""
VISIBLE, SOLID = 0.05, 0.97
"""Opacity from which a pixel belongs to the body, and from which nothing shows through it."""


def check_move(model: VideoModel, want: Settings, still: Still, masked: bool) -> None:
    """SfvError for a word that this picture cannot follow."""
    if want.move not in CUT_OUT:
        return
    first = first_pixels(model, still)
    others = "shake, float, sway, nod, bounce, pulse and squash do not need that"
    if masked:
        raise SfvError(f"move {want.move}: what turns or bends as a whole cannot be held in part; leave the mask out")
    if fills_frame(first) or ground_shades(first):
        raise SfvError(f"move {want.move}: nothing stands out from a clear or plain ground in this picture; {others}")
    if not is_clear(first) and float(torch.cat(sum(_borders(first, still), ())).float().mean()) > TOUCHING:
        raise SfvError(f"move {want.move}: the thing in this picture reaches over its border; {others}")


def with_eyes(
    model: VideoModel, judged: Settled, still: Still, mask: Mask | None
) -> tuple[Settings, tuple[Eye, Eye] | None]:
    """Settings with `move` auto as blink or free, and the eyes that blink.

    SfvError where blinking was asked for and there are no eyes, or a mask keeps them still.
    """
    want = judged.want
    if want.move == "auto":
        eyes = _eyes_for_sure(model, judged, still, mask)
        return want.model_copy(update={"move": "free" if eyes is None else "blink"}), eyes
    if want.move != "blink":
        return want, None
    found = _rated(model, still)
    if found is None:
        raise SfvError(
            "move blink: no pair of open eyes was found in this picture; it needs a face seen from the front and "
            "upright, with eyes darker than the face; other words for motion need none"
        )
    if all(share == 1 for share in _held(mask, still, found[0])):
        raise SfvError("move blink: the mask keeps the eyes still; leave one of them out")
    return want, found[0]


def _eyes_for_sure(model: VideoModel, judged: Settled, still: Still, mask: Mask | None) -> tuple[Eye, Eye] | None:
    """Eyes that blink by themselves: of what is hardly stiff, the surer the stiffer it is, in rounds that are long
    enough; none that a mask keeps still in part."""
    want, logit = judged.want, judged.logit
    if logit is None or logit > UNLIKELY or float(want.frames or 1) / float(want.fps or 1) < SHORTEST:
        return None
    found = _rated(model, still)
    if found is None or found[1] - logit < SURE or any(_held(mask, still, found[0])):
        return None
    return found[0]


def _rated(model: VideoModel, still: Still) -> tuple[tuple[Eye, Eye], float] | None:
    first = first_pixels(model, still)
    return rated_eyes(first, _there(first))


def _held(mask: Mask | None, still: Still, eyes: tuple[Eye, Eye]) -> list[float]:
    """The share of each eye that a mask of what is shown keeps still."""
    if mask is None:
        return [0.0, 0.0]
    held = frame_of(mask, still) > 0
    return [float(held[eye.pixels].float().mean()) for eye in eyes]


def cut_sides(first: AnyFirst, still: Still) -> Sides:
    """The sides (left and upper, right and lower) that cut the thing in a fitted picture off: it is solid there. What
    has an outline there, or soon gets wider inside, ends there: it was trimmed."""
    if fills_frame(first) or ground_shades(first):
        return torch.zeros(2, 2, dtype=torch.bool)
    least = min(_shown(still).shape[:2])
    deep = min(max(2, round(CORNER * least)), least - 1)
    lines, further = (_borders(first, still, depth) for depth in (0, deep))
    wider = [[_extent(b) - _extent(a) for a, b in zip(*both, strict=True)] for both in zip(lines, further, strict=True)]
    shares = torch.tensor([[float(line.float().mean()) for line in pair] for pair in lines])
    return cut_off(shares * (torch.tensor(wider) <= ROUND * deep))


def _extent(line: Bool[Tensor, " pixels"]) -> int:
    """From the first pixel that is solid to the last."""
    at = line.nonzero()
    return int(at[-1] - at[0]) + 1 if len(at) else 0


def _shown(still: Still) -> UInt8[Tensor, "h w _"]:
    """The picture, with its transparency if it has any, as it is shown."""
    return cut(still.large if still.large_sticker is None else still.large_sticker, still.box)


def _borders(first: AnyFirst, still: Still, depth: int = 0) -> tuple[tuple[Tensor, Tensor], ...]:
    """Where the thing is solid along what is shown at the clip's size, so many pixels inside: (left, upper), (right,
    lower). The network's frame would not do: there the border lies between pixels."""
    shown = _shown(still)
    ground = None if is_clear(first) else rim(first).median(1).values.cpu() + 0.5

    def solid(line: UInt8[Tensor, "pixels _"]) -> Bool[Tensor, " pixels"]:
        return line[:, 3] > 255 * SOLID if ground is None else (line[:, :3] / 255 - ground).abs().amax(1) > ALIKE

    last = -1 - depth
    return (solid(shown[:, depth]), solid(shown[depth])), (solid(shown[:, last]), solid(shown[last]))


def body_in(first: AnyFirst, still: Still) -> Body:
    """The thing in a fitted picture, and what is shown of the frame: no end where all of the picture is the thing."""
    if fills_frame(first) or ground_shades(first):
        return body_of(_there(first).cpu(), ENDLESS)
    height, width = still.large.shape[:2]
    top, left, h, w = still.box or (0, 0, height, width)
    window = (left / width - 0.5, top / height - 0.5, (left + w) / width - 0.5, (top + h) / height - 0.5)
    return body_of(_there(first).cpu(), window)


def held_to(word: str, maps: Affine, body: Body) -> Affine:
    """The network's motion as one body, of which sway and nod keep the turn alone and bounce the hop; stretched where a
    word says so. What turns is brought inside its frame afterwards (decoding/inside.py)."""
    if word in ("sway", "nod"):
        return turns_only(maps, body.foot if word == "sway" else body.middle, replace(body, window=ENDLESS))
    if word == "bounce":
        return hops_only(maps, body)
    return maps if word in STRETCHES else hardly_stretched(maps, body)


def _with_room(first: AnyFirst, still: Still) -> Body:
    """The thing in a fitted picture, which may go over sides that cut it off."""
    body, sides = body_in(first, still), cut_sides(first, still).flatten().tolist()
    window = [far if over else near for near, far, over in zip(body.window, ENDLESS, sides, strict=True)]
    return replace(body, window=(window[0], window[1], window[2], window[3]))


def arrow_in(want: Settings, source: tuple[int, int], still: Still) -> Arrow | None:
    """The arrow that is asked for on a picture of height and width `source`, as the network's frame has it."""
    if want.drag is None:
        return None
    full_height, full_width = still.large.shape[:2]
    top, left, height, width = still.box or (0, 0, full_height, full_width)
    across, down = width / source[1], height / source[0]
    if want.fit != "own":
        across = down = (max if want.fit == "crop" else min)(across, down)
    inside = across * source[1], down * source[0]
    corner = left + (width - inside[0]) / 2, top + (height - inside[1]) / 2
    frame = full_width, full_height
    start, end = (
        tuple((corner[i] + share * inside[i]) / frame[i] - 0.5 for i, share in enumerate(place))
        for place in split_arrow(want.drag)
    )
    return Arrow((start[0], start[1]), (end[0], end[1]))


def check_arrow(model: VideoModel, start: Start) -> None:
    """SfvError for an arrow that starts where nothing is, or where a mask keeps still."""
    if start.arrow is None:
        return
    there = _there(first_pixels(model, start.still)).cpu()
    rows, columns = (
        (torch.arange(size) + 0.5) / size - 0.5 - at
        for size, at in zip(there.shape, start.arrow.start[::-1], strict=True)
    )
    near = there[rows.abs() <= NEARBY][:, columns.abs() <= NEARBY]
    if not near.any():
        raise SfvError(f"drag {start.want.drag}: nothing lies where the arrow starts; start it on the thing")
    if start.mask is not None and _is_held(start.mask, start.still, start.arrow):
        raise SfvError(f"drag {start.want.drag}: the mask keeps still where the arrow starts; leave one of them out")


def _is_held(mask: Mask, still: Still, arrow: Arrow) -> bool:
    """Whether the mask of what is shown is white at the arrow's start."""
    full = still.large.shape[:2]
    top, left = (still.box or (0, 0))[:2]
    row, column = (int((share + 0.5) * size) for share, size in zip(arrow.start[::-1], full, strict=True))
    row, column = (
        max(0, min(at, size - 1)) for at, size in ((row - top, mask.shape[0]), (column - left, mask.shape[1]))
    )
    return bool(mask[row, column] > 0)


def added(start: Start, first: AnyFirst, times: Tensor, free: Tensor | None, places: Places | None) -> list[Flow]:
    """What the word and the arrow add at `times` (n,), shares of a round, one after the other: (n, 2, y, x) each.

    `free` (y, x) is how far each place may move; None: all the way. The network's own motion brings the thing to
    `places`; None: it rests, or nothing cuts it.
    """
    flows = [carrying(start, first, times, free, places)] if start.want.move in CARRIED else []
    if start.arrow is None:
        return flows
    if flows and free is None and places is not None:
        places = taken(start.want.move, flows[0].cpu(), places)
    return [*flows, _dragging(start, start.arrow, first, times, free, places)]


def _dragging(
    start: Start, arrow: Arrow, first: AnyFirst, times: Tensor, free: Tensor | None, places: Places | None
) -> Flow:
    """What an arrow adds: of a photo the border stays, or all of it moves as one body."""
    (y, x), whole = first.shape[2:], start.want.stiff == "on"
    flow = dragged(arrow, times.cpu(), _with_room(first, start.still), y, x, whole, places)
    if fills_frame(first):
        if not whole:
            flow = flow * (1 - border(y, x))
        elif free is None:
            flow = flow_of(covered(flow), y, x)
    flow = flow.to(first.device)
    return flow if free is None else flow * free.to(first.device)


def blinking(start: Start, first: AnyFirst, count: int) -> Callable[[int, Tensor], Tensor] | None:
    """(frame of `count`, picture) -> the picture with its eyes as they are in that frame; None where nothing blinks."""
    if start.eyes is None:
        return None
    seconds = float(start.want.frames or 1) / float(start.want.fps or 1)
    closed, lids = shares(count, seconds), Lids(first, start.eyes)
    shut: list[Tensor] = []  # the same picture for as long as the lids are down

    def changed(frame: int, picture: Tensor) -> Tensor:
        if closed[frame] < 1:
            return lids.over(picture, closed[frame])
        if not shut:
            shut.append(lids.over(picture, 1))
        return shut[0]

    return changed


def carrying(start: Start, first: AnyFirst, times: Tensor, free: Tensor | None, places: Places | None = None) -> Flow:
    """What a word adds; as in `added`."""
    want, (y, x) = start.want, first.shape[2:]
    seconds = float(want.frames or 1) / float(want.fps or 1)
    body = (body_in if want.move in CUT_OUT else _with_room)(first, start.still)
    flow = carried(want.move, times.cpu(), start.much, seconds, body, y, x, places)
    if fills_frame(first) and free is None:
        flow = flow_of(covered(flow), y, x)
    flow = flow.to(first.device)
    return flow if free is None else flow * free.to(first.device)


def frame_of(mask: Mask, still: Still) -> UInt8[Tensor, "y x"]:
    """A clip's mask as the network's frame has it: 255 where anything is held."""
    whole = torch.zeros(still.large.shape[:2], dtype=torch.uint8)
    top, left, height, width = still.box or (0, 0, *whole.shape)
    whole[top : top + height, left : left + width] = mask
    size = (still.small.shape[0], still.small.shape[1])
    near = F.interpolate(whole[None, None].float(), size, mode="area")[0, 0]
    return ((near > 0) * 255).to(torch.uint8)


def _there(first: AnyFirst) -> Bool[Tensor, "y x"]:
    """Pixels of the thing: what is not clear; of an opaque picture, what is not of its border's colour."""
    if is_clear(first):
        return (first[0, 3] + 1) / 2 > VISIBLE
    if fills_frame(first) or ground_shades(first):
        return torch.ones_like(first[0, 0], dtype=torch.bool)
    ground = rim(first).median(1).values
    return ((first[0, :3].float() / 2 - ground[:, None, None]).abs().amax(0)) > ALIKE
