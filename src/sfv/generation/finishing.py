"""Latents -> frames: decoded, enlarged, made transparent, kept still where that is asked for."""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sfv import limits
from sfv.decoding.decoder import Decoded
from sfv.decoding.directed import ENDLESS
from sfv.decoding.guide import moved
from sfv.decoding.holding import border, held
from sfv.decoding.inside import Sides, kept_inside
from sfv.decoding.one_body import one_body
from sfv.decoding.upscale import Layers, enlarged
from sfv.decoding.warping import Flow
from sfv.decoding.whereabouts import Places, places
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip, Start, Still
from sfv.generation.directing import added, blinking, body_in, cut_sides, frame_of, held_to
from sfv.generation.fitting import first_pixels
from sfv.generation.framing import cut
from sfv.media import keep_still, soft_edge, there_and_back
from sfv.media.edits import Weights
from sfv.media.formats import colour
from sfv.media.grounds import beyond, fills_frame, ground_shades
from sfv.media.pictures import AnyPicture, FittedSticker, Uint8Sticker
from sfv.media.pixels import Opacity, as_layers, as_pixels, laid_over, opacity, to_frames
from sfv.settings import CARRIED, FREE, Settings
from sfv.system.timing import clocked_stage
from sfv.types import AnyFirst, Frames, Latents, Picture

Played = UInt8[Tensor, "n height width 3"]
"""As many frames as are played."""
CALM = 1.6
"""How much slower than others the way back to the picture is: the eye waits there (seams.py, 60 stills)."""
SLOWEST = 4.0
"""Times as long as others that the ways from and to the picture may take."""
EARLY = 1 / 3
"""Of a round's time and of its motion: by then so much of it is done, as in an even round, if hurrying can do it."""
HURRY = 0.6
"""Share by which a round is played quicker at most, a quarter of it from its start, and slower before its end."""
PlayedOpacity = UInt8[Tensor, "n height width 1"]


def made_of(model: VideoModel, latents: Latents, start: Start, calls: int, seconds: dict[str, float]) -> Clip:
    """One clip's latents, decoded; what that took is added to `seconds`."""
    still, want, alpha = start.still, start.want, None
    with clocked_stage(seconds, "decode", model.device):
        if model.codec.channels == 4:
            frames, alpha = _layered(model, latents, start)
        else:
            frames, drawn = _opaque(model, latents, start)
    if alpha is None and still.sticker is not None and still.large_sticker is not None:
        with clocked_stage(seconds, "matte", model.device):
            alpha = matted(model, drawn, first_pixels(model, still), still.sticker, still.large_sticker)
    shown = None if still.large_sticker is None else cut(still.large_sticker, still.box)
    frames, alpha = cut(frames, still.box), None if alpha is None else cut(alpha, still.box)
    picture = cut(still.large, still.box)
    return Clip(frames, at_times(latents, want), picture, want, calls, seconds, shown, alpha, start.mask, still.source)


def at_times(latents: Latents, want: Settings) -> Float[Tensor, "b n c y x"]:
    """Latents of the frames that are played: those of a loop, or what lies between them around the round."""
    times = _times(latents, want)
    return latents if times is None else around(latents, times.to(latents.device))


def around(latents: Latents, at: Float[Tensor, " n"]) -> Float[Tensor, "b n c y x"]:
    """A loop's latents at any places around the round, in frames: linear between neighbours, the last and the first
    among them."""
    f = latents.shape[1]
    before = at.floor()
    share = (at - before)[:, None, None, None]
    one, other = (latents[:, (k % f).long()] for k in (before, before + 1))
    return one + share * (other - one)


def _opaque(model: VideoModel, latents: Latents, start: Start) -> tuple[Frames, Decoded]:
    """RGB frames, and what they are made of."""
    still, want, first = start.still, start.want, first_pixels(model, start.still)
    parts = still.enlarged or want.transparent or want.stiff == "on" or start.mask is not None
    moves = model.enlarges(want.decoder) and parts
    drawn = _drawn(model, latents, first, start) if moves else Decoded(model.decode(latents, first, want.decoder))
    frames = _large_frames(model, still, drawn) if still.enlarged else to_frames(drawn.frames)
    return frames, drawn


def _drawn(model: VideoModel, latents: Latents, first: AnyFirst, start: Start) -> Decoded:
    """Frames and what they are made of; of stiff things as one body, and still where that is wanted."""
    drawn = model.draw(latents, first, torch.full((len(latents),), start.softness))
    body = body_in(first, start.still)
    if start.want.stiff == "on":
        kept = partial(held_to, start.want.move, body=body)
        drawn = one_body(drawn, first, fills_frame(first) and start.mask is None, kept)
    if model.codec.channels == 4 and body.window != ENDLESS:  # not of clips that show a part of a scene
        free = start.want.move in FREE
        room = body if free else body.off_the_edge(first.shape[2], first.shape[3])
        drawn = kept_inside(drawn, first, room, cut_sides(first, start.still), free)
    for weights in _holding(first, start):
        drawn = held(drawn, first, weights)
    return drawn


def _holding(first: AnyFirst, start: Start) -> list[Weights]:
    """What keeps still, as weights of the network's frame: the border of a ground that shades, and the mask."""
    found = [border(first.shape[2], first.shape[3])] if ground_shades(first) else []
    return found if start.mask is None else [*found, soft_edge(frame_of(start.mask, start.still))]


def _large_frames(model: VideoModel, still: Still, drawn: Decoded) -> Frames:
    small, large = as_pixels(still.small, model.device), as_pixels(still.large, model.device)
    return torch.cat([to_frames(frame[None]) for frame in enlarged(drawn, small, large, drawn.frames)])


def _layered(model: VideoModel, latents: Latents, start: Start) -> tuple[Played, PlayedOpacity | None]:
    """Frames of a model that draws transparency too: over the background, or over white with their alpha."""
    still, want, first = start.still, start.want, first_pixels(model, start.still)
    drawn = _drawn(model, latents, first, start)
    parts: Iterable[Tensor] = [drawn.frames[0]]
    times = _times(latents, want)
    directed = want.move in CARRIED or start.arrow is not None
    around, ends = beyond(first), _ends(first, start)
    changed = still.enlarged or directed or start.eyes is not None or around is not None or bool(ends.any())
    if times is not None or changed:
        layers = Layers(drawn, first)
        where = _places(layers.flow, first, start, times) if directed else None
        layers = layers if times is None else layers.at(times.to(first.device))
        if directed:
            layers = _carried(layers, start, first, where)
        if bool(ends.any()):
            layers = layers.stopped(ends, body_in(first, still).window)
        large = as_layers(_largest(still), model.device) if still.enlarged else first
        lids = blinking(start, first, len(layers.flow))
        if not (want.transparent or layers.beside) and bool((large[:, 3] == 1).all()):
            large = large[:, :3]  # an opaque picture that is only moved stays opaque
        parts = layers.over(large, changed=lids, beyond=None if around is None else around[: large.shape[1]])
    ground = (255, 255, 255) if want.transparent else colour(want.background)
    frames, alphas = [], []
    for part in parts:
        frames.append(laid_over(part[None], ground) if part.shape[1] == 4 else to_frames(part[None]))
        if want.transparent:
            alphas.append(opacity(part[None]))
    return torch.cat(frames), torch.cat(alphas) if alphas else None


def _ends(first: AnyFirst, start: Start) -> Sides:
    """The sides beyond which the picture goes on: they cut its thing off. What spins shows where it was cut."""
    sides = cut_sides(first, start.still)
    return torch.zeros_like(sides) if start.want.move == "spin" else sides


def _places(flow: Flow, first: AnyFirst, start: Start, times: Float[Tensor, " n"] | None) -> Places | None:
    """Where the network's own motion brings the thing in the frames played; None where nothing cuts it."""
    body = body_in(first, start.still)
    if body.window == ENDLESS:
        return None
    return places(flow, body.points, torch.arange(float(len(flow))) if times is None else times)


def _carried(layers: Layers, start: Start, first: AnyFirst, where: Places | None) -> Layers:
    """With what a word for motion and an arrow add, except where something keeps still."""
    n, holding = len(layers.flow), _holding(first, start)
    free = None if not holding else torch.stack([1 - w for w in holding]).prod(0)
    for k, flow in enumerate(added(start, first, torch.arange(n) / n, free, where)):
        layers = layers.carried(flow, even=k > 0)
    return layers


def _largest(still: Still) -> AnyPicture:
    """The picture at the clip's own size, with its transparency if that is asked for."""
    return still.large if still.large_sticker is None else still.large_sticker


def _times(latents: Latents, want: Settings) -> Float[Tensor, " n"] | None:
    """Places around the round, in frames, of what is played; None for the frames made."""
    frames = latents.shape[1]
    count = frames if want.play_fps is None else limits.played(frames, float(want.fps or 1), want.play_fps)
    if count == frames:
        return None
    return eased(latents[0], count) if count > frames else torch.arange(count) * (frames / count)


def eased(round_: Float[Tensor, "f c y x"], count: int) -> Float[Tensor, " n"]:
    """`count` places around a round, evenly spread but for the ways from and to the picture: they take as many times
    longer as they are longer than others, up to SLOWEST, and the way back to it CALM times that; and a round that does
    little at first is hurried there.

    The network makes the picture the first frame whatever it makes of the others, so that those two ways may be jumps.
    """
    ways = (round_.roll(-1, 0) - round_).flatten(1).float().norm(dim=1).cpu()
    spans = torch.ones(len(ways))
    for end, calm in ((0, 1.0), (len(ways) - 1, CALM)):
        spans[end] = (calm * ways[end] / ways.median().clamp(min=1e-9)).clamp(1, SLOWEST)
    ends = spans.cumsum(0)
    at = hurried(torch.arange(count) / count, ways, spans) * ends[-1]
    k = torch.searchsorted(ends, at, right=True).clamp(max=len(ways) - 1)
    return k + (at - (ends - spans)[k]) / spans[k]


def hurried(at: Float[Tensor, " n"], ways: Float[Tensor, " f"], spans: Float[Tensor, " f"]) -> Float[Tensor, " n"]:
    """Shares of a round's time, moved on where EARLY of its motion is not done by then: by b (1 - cos 2 pi s) / 2 pi.

    The pace is then as it was at the seam, 1 + b a quarter round later and 1 - b a quarter before the end.
    """
    done, ends = ways.cumsum(0), spans.cumsum(0)
    if done[-1] <= 0:
        return at
    wanted = EARLY * done[-1]
    k = int(torch.searchsorted(done, wanted))
    when = (ends[k] - spans[k] * (done[k] - wanted) / ways[k]) / ends[-1]
    gained = (1 - math.cos(2 * math.pi * EARLY)) / (2 * math.pi)
    b = ((when - EARLY) / gained).clamp(0, HURRY)
    return at + b * (1 - (2 * math.pi * at).cos()) / (2 * math.pi)


def matted(model: VideoModel, drawn: Decoded, first: Picture, sticker: Uint8Sticker, large: FittedSticker) -> Opacity:
    """How opaque every pixel is: as the sticker's own alpha where that was moved, by the matte where it was drawn.

    `sticker` is `first` with its transparency, `large` the same at the clip's size.
    """
    assert model.matte is not None
    known, big = (s[..., 3].to(model.device).float()[None, None] / 255 for s in (sticker, large))
    alpha = model.matte(drawn.frames.clamp(-1, 1), first, known)
    if drawn.flow is not None and drawn.trust is not None:
        alpha = alpha + drawn.trust * (moved(known, drawn.flow[0]).clamp(0, 1) - alpha)
    opacity_map = alpha[0] if big.shape == known.shape else torch.cat([*enlarged(drawn, known, big, alpha)])
    return (opacity_map * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()


def edited(clip: Clip, moves: bool = False) -> Clip:
    """With what keeps still, there and back, if that is wanted; where the decoder `moves`, its motion fades already."""
    if clip.mask is not None:
        clip = _kept(clip, (clip.mask > 0).float() if moves else soft_edge(clip.mask))
    if clip.settings.boomerang:
        alpha = None if clip.alpha is None else there_and_back(clip.alpha)
        latents = there_and_back(clip.latents[0])[None]
        clip = replace(clip, frames=there_and_back(clip.frames), latents=latents, alpha=alpha)
    return clip


def _kept(clip: Clip, weights: Weights) -> Clip:
    """The still picture over every frame, as far as the weights say; its alpha likewise."""
    known = None if clip.sticker is None else clip.sticker[..., 3:]
    alpha = None if clip.alpha is None or known is None else keep_still(clip.alpha, known, weights)
    return replace(clip, frames=keep_still(clip.frames, clip.picture, weights), alpha=alpha)
