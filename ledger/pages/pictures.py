"""The pictures of a night, each drawn twice: for wide pages, and for narrow ones, where text has to stay readable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.pages._canvas import TEXT_WIDTH, Canvas, Scale, TimeAxis
from ledger.pages._settings import Lane
from ledger.pages._timings import CELLS, Timings
from ledger.query.counts import MINUTE_US, Minute, sum_of

#: Widths of pages that pictures are drawn for.
_WIDE, _NARROW = 1000, 360

#: Classes of frames from the bottom of a bar to its top: the class of the style, and what it is called.
KINDS = {
    "paired_A": "paired, FLC A",
    "paired_B": "paired, FLC B",
    "paired_none": "paired, no FLC",
    "solo": "one camera on its own",
    "unpaired": "without a partner",
    "paired_D": "paired, FLC dubious",
    "not_paired": "not known whether paired",
    "not_synced": "not paired yet",
    "quarantined": "quarantined",
    "lost": "lost",
}
_OF_CAMERAS = ("solo", "unpaired", "not_paired")


@dataclass(frozen=True, slots=True)
class Room:
    """What a picture has: its width, and what is left for words at the left."""

    width: int
    left: int

    @property
    def right(self) -> int:
        """Return where its drawing ends."""
        return self.width - (44 if self.width == _WIDE else 14)


def both(draw: Callable[[Room], Canvas], label: str) -> str:
    """Return a picture for wide pages and one for narrow ones; the style shows one of them."""
    return draw(Room(_WIDE, 140)).svg("wide", label) + draw(Room(_NARROW, 52)).svg("narrow", label)


def frames_of_kind(minute: Minute, kind: str) -> int:
    """Return a minute's frames of a class of :data:`KINDS`, of both cameras."""
    return sum_of(minute.frames, kind) if kind in _OF_CAMERAS else minute.frames[kind]


def timeline(minutes: Sequence[Minute], lanes: Sequence[Lane], span: tuple[int, int], label: str) -> str:
    """Return frames per minute by class, and below them how the instrument was set.

    Parameters
    ----------
    minutes : sequence of Minute
        Those whose time is known.
    lanes : sequence of Lane
        Those that change.
    span : tuple of int
        First and last time, microseconds.
    label : str
        What is seen, in words.
    """

    def draw(room: Room) -> Canvas:
        bars_bottom, lane_height = 208, 46
        bottom = bars_bottom + 24.0 + lane_height * len(lanes)
        canvas = Canvas(room.width, round(bottom) + 40)
        axis = TimeAxis(*span, room.left, room.right)
        axis.draw(canvas, 24, bottom)
        per_bin = max(1, -(-round((span[1] - span[0]) / MINUTE_US) // ((room.right - room.left) // 2)))
        heights = _heights(minutes, per_bin)
        scale = Scale([0, *(sum(heights[at].values()) for at in heights)], 24, bars_bottom)
        canvas.text(0, 12, "frames a minute", "faint")
        scale.draw(canvas, room.left, room.right)
        bin_us = per_bin * MINUTE_US
        for kind in KINDS:
            shapes = []
            for at_us, by_kind in heights.items():
                left, right = axis.at(at_us), axis.at(at_us + bin_us)
                below = sum(by_kind[k] for k in list(KINDS)[: list(KINDS).index(kind)])
                top, bottom = scale.at(below + by_kind[kind]), scale.at(below)
                if by_kind[kind]:
                    gap = 1 if right - left > 6 else 0
                    shapes.append((left, top, max(right - left - gap, 0.8), max(bottom - top, 0.6)))
            canvas.rects(shapes, f"k-{kind}")
        y = bars_bottom + 24.0
        for lane in lanes:
            _draw_lane(canvas, axis, lane, y, lane_height, room)
            y += lane_height
        return canvas

    return both(draw, label)


def _heights(minutes: Sequence[Minute], per_bin: int) -> dict[int, dict[str, float]]:
    """Return frames a minute by class, by the begin of so many minutes, microseconds."""
    found: dict[int, dict[str, float]] = {}
    for minute in minutes:
        if minute.at_us is not None:
            at_us = minute.at_us - minute.at_us % (per_bin * MINUTE_US)
            by_kind = found.setdefault(at_us, dict.fromkeys(KINDS, 0.0))
            for kind in KINDS:
                by_kind[kind] += frames_of_kind(minute, kind) / per_bin
    return found


def _draw_lane(canvas: Canvas, axis: TimeAxis, lane: Lane, y: float, height: int, room: Room) -> None:
    """Draw a setting: numbers by their height, words as stretches with their names where there is room."""
    is_wide = room.width == _WIDE
    canvas.line(room.left, y, room.right, y, "grid")
    if is_wide:
        canvas.text(room.left - 12, y + height / 2 + 4, _fitting(lane.title, room.left - 16), anchor="end")
        top, bottom = y + 8, y + height - 8
    else:
        canvas.text(room.left, y + 13, lane.title, "faint")
        top, bottom = y + 19, y + height - 4
    numbers = [value for value in lane.values if isinstance(value, float)]
    if lane.is_number and len(numbers) > 1:
        _draw_numbers(canvas, axis, lane, (top, bottom), room)
        return
    tone, before = 1, None
    seen: set[tuple[int, int]] = set()
    free = room.left
    for stretch in lane.stretches:
        tone, before = tone ^ (stretch.value != before), stretch.value
        left, right = axis.at(stretch.first_us), max(axis.at(stretch.last_us), axis.at(stretch.first_us) + 1)
        place = (round(left), round(right))
        if place in seen:
            continue
        seen.add(place)
        canvas.rect(left, top, right - left, bottom - top, f"s{tone}", title=str(stretch.value))
        words = _fitting(str(stretch.value), right - left - 4)
        if words and left >= free:
            canvas.text((left + right) / 2, (top + bottom) / 2 + 4, words, "on", "middle")
            free = round(right)


def _draw_numbers(canvas: Canvas, axis: TimeAxis, lane: Lane, ends: tuple[float, float], room: Room) -> None:
    numbers = sorted(value for value in lane.values if isinstance(value, float))
    top, bottom = ends
    span = numbers[-1] - numbers[0]
    shapes: dict[tuple[int, int], float] = {}
    for stretch in lane.stretches:
        value = float(stretch.value)
        left, right = round(axis.at(stretch.first_us)), axis.at(stretch.last_us)
        y = round(bottom - 3 - (value - numbers[0]) / span * (bottom - top - 3))
        shapes[left, y] = max(right - left, 1.2, shapes.get((left, y), 0.0))
    canvas.rects(((x, y, width, 3) for (x, y), width in shapes.items()), "level")
    if room.width == _WIDE:
        canvas.text(room.right + 2, top + 8, f"{numbers[-1]:g}", "tiny")
        canvas.text(room.right + 2, bottom + 2, f"{numbers[0]:g}", "tiny")


def _fitting(words: str, width: float) -> str:
    """Return as much of some words as there is room for, or nothing."""
    most = int(width / TEXT_WIDTH)
    if len(words) <= most:
        return words
    return f"{words[: most - 1]}…" if most >= 5 else ""


def offsets(timings: Timings, cameras: tuple[int, int], span: tuple[int, int], label: str) -> str:
    """Return the cameras' offset of each group that was read, and the residuals around it."""

    def draw(room: Room) -> Canvas:
        canvas = Canvas(room.width, 330)
        axis = TimeAxis(*span, room.left, room.right)
        axis.draw(canvas, 24, 288)
        upper = Scale([each.offset_us for each in timings.offsets], 24, 120)
        reach = max(1.0, *(max(abs(each.low_us), abs(each.high_us)) for each in timings.offsets))
        lower = Scale([-reach, reach], 168, 288)
        canvas.text(0, 12, f"offset, camera {cameras[1]} \N{MINUS SIGN} camera {cameras[0]}, µs", "faint")
        canvas.text(0, 152, "residuals, µs: from 5 % to 95 % of a group's pairs", "faint")
        upper.draw(canvas, room.left, room.right)
        lower.draw(canvas, room.left, room.right)
        places = [(axis.at(each.at_us), each) for each in timings.offsets]
        canvas.rects(((x - 1.5, upper.at(each.offset_us) - 1.5, 3, 3) for x, each in places), "level")
        canvas.rects(
            (
                (x - 1.2, lower.at(each.high_us), 2.4, max(lower.at(each.low_us) - lower.at(each.high_us), 1.0))
                for x, each in places
            ),
            "level",
        )
        return canvas

    return both(draw, label)


def dropped(minutes: Sequence[Minute], cameras: tuple[int, int], span: tuple[int, int], label: str) -> str:
    """Return which part of the triggers left no frame in one camera: the first above, the second below."""

    def draw(room: Room) -> Canvas:
        canvas = Canvas(room.width, 230)
        axis = TimeAxis(*span, room.left, room.right)
        axis.draw(canvas, 24, 190)
        parts = {minute.at_us: missing(minute, cameras) for minute in minutes if minute.at_us is not None}
        most = max(0.1, *(100 * part for both_parts in parts.values() for part in both_parts))
        scale = Scale([-most, most], 24, 190)
        canvas.text(0, 12, f"% of triggers, missing in camera {cameras[0]} (up) and {cameras[1]} (down)", "faint")
        scale.draw(canvas, room.left, room.right)
        middle = scale.at(0)
        for up, kind in ((True, "k-paired_A"), (False, "k-paired_B")):
            shapes = []
            for at_us, both_parts in parts.items():
                end = scale.at(100 * both_parts[0] if up else -100 * both_parts[1])
                left, right = axis.at(at_us), axis.at(at_us + MINUTE_US)
                if end != middle:
                    shapes.append((left, min(end, middle), max(right - left, 1.2), abs(end - middle)))
            canvas.rects(shapes, kind)
        canvas.line(room.left, middle, room.right, middle)
        return canvas

    return both(draw, label)


def missing(minute: Minute, cameras: tuple[int, int]) -> tuple[float, float]:
    """Return which part of a minute's triggers the first and the second camera lack, as far as the other has them."""
    only_first, only_second = (minute.frames[f"unpaired_{camera}"] for camera in cameras)
    triggers = sum_of(minute.frames, "paired") // 2 + only_first + only_second
    return (only_second / triggers, only_first / triggers) if triggers else (0.0, 0.0)


def fold(timings: Timings, label: str) -> str:
    """Return the gap after each frame against the gap before it: A and B are two clouds."""
    found = timings.fold
    if found is None:
        return ""

    def draw(room: Room) -> Canvas:
        size, left, top = 280, 64, 24
        canvas = Canvas(360, size + 80)
        canvas.text(0, 12, "gap after, less the period, µs", "faint")
        scale = Scale([-found.reach_us, found.reach_us], top, top + size)
        step = (scale.at(-found.reach_us) - scale.at(found.reach_us)) / CELLS
        scale.draw(canvas, left, left + size)
        bottom = top + size
        for number in range(round((scale.most - scale.least) / scale.step) + 1):
            value = scale.least + number * scale.step
            x = left + bottom - scale.at(value)
            canvas.line(x, top, x, bottom, "grid")
            canvas.text(x, bottom + 16, f"{value:,.0f}".replace("-", "\N{MINUS SIGN}"), anchor="middle")
        canvas.text(left + size / 2, bottom + 34, "gap before, less the period, µs", "faint", "middle")
        begin_x, begin_y = left + bottom - scale.at(-found.reach_us), scale.at(-found.reach_us)
        most = max(n for cells in found.cells.values() for n in cells.values())
        for state in ("D", "B", "A"):
            by_density: dict[int, list[tuple[float, float, float, float]]] = {1: [], 2: [], 3: []}
            for (column, row), n in found.cells.get(state, {}).items():
                density = 3 if n > most / 10 else 2 if n > most / 100 else 1
                by_density[density].append((begin_x + column * step, begin_y - (row + 1) * step, step, step))
            for density, shapes in by_density.items():
                canvas.rects(shapes, f"k-paired_{state} d{density}")
        for state, (before, after) in found.middle_us.items():
            if state != "D":
                x, y = left + bottom - scale.at(before), scale.at(after)
                canvas.text(x + 10, y - 8, state, "strong")
        return canvas

    return draw(Room(_NARROW, 64)).svg("square", label)


def spark(heights: Sequence[float], label: str) -> str:
    """Return a night as a small picture: frames in equal parts of its time."""
    canvas = Canvas(180, 28)
    most = max(heights, default=0) or 1
    step = 180 / max(len(heights), 1)
    heights = [26 * height / most for height in heights]
    canvas.rects(((n * step, 28 - height, step * 0.8, height) for n, height in enumerate(heights) if height), "level")
    canvas.line(0, 27.5, 180, 27.5)
    return canvas.svg("spark", label)
