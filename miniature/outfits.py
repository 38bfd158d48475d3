"""What each occupation wears and holds, and what things look like: shapes as data, in a 64 × 64 frame.

A shape is (kind, coordinates, colour): "disc" cx cy rx ry · "box" x0 y0 x1 y1 · "poly" x y x y … · "line" width x y x y …
"""

from __future__ import annotations

from typing import NamedTuple

Shape = tuple[str, tuple[float, ...], tuple[int, int, int]]

WHITE, BLACK, GREY, SILVER = (250, 250, 250), (25, 25, 30), (120, 125, 130), (190, 195, 205)
RED, ORANGE, YELLOW, GOLD = (215, 40, 40), (250, 140, 20), (250, 215, 50), (225, 175, 30)
GREEN, DARK_GREEN, TEAL, BLUE, NAVY = (80, 175, 80), (60, 80, 40), (0, 150, 150), (50, 100, 215), (25, 40, 110)
PURPLE, PINK, BROWN, TAN, CREAM = (125, 65, 150), (250, 120, 195), (120, 75, 40), (205, 155, 95), (245, 235, 205)


class Outfit(NamedTuple):
    cloth: tuple[int, int, int]
    trim: tuple[Shape, ...]  # on the torso
    hat: tuple[Shape, ...]
    prop: tuple[Shape, ...]  # bottom right, always in sight, so that the occupation shows even without clothes


def peaked_cap(colour, badge):
    return (
        ("disc", (32, 10, 13, 5), colour),
        ("box", (21, 11, 43, 15), colour),
        ("box", (20, 15, 44, 17), BLACK),
        ("disc", (32, 12, 2.5, 2.5), badge),
    )


def helmet(colour, band):
    return (("disc", (32, 14, 13, 9), colour), ("box", (17, 14, 47, 18), colour), ("box", (19, 13, 45, 15), band))


def cap(colour):
    return (("disc", (32, 13, 11, 7), colour), ("box", (31, 13, 50, 16), colour))


def band(colour):
    return (("box", (21, 13, 43, 17), colour),)


def toque(colour):
    return (
        ("disc", (26, 7, 6, 5), colour),
        ("disc", (38, 7, 6, 5), colour),
        ("disc", (32, 6, 6, 5), colour),
        ("box", (23, 8, 41, 16), colour),
    )


def straps(colour):
    return (("box", (20, 42, 25, 64), colour), ("box", (39, 42, 44, 64), colour), ("box", (20, 53, 44, 64), colour))


def apron(colour):
    return (
        ("box", (24, 46, 40, 64), colour),
        ("line", (1.5, 24, 46, 28, 39), colour),
        ("line", (1.5, 40, 46, 36, 39), colour),
    )


def rows(colour):
    return (("box", (8, 48, 56, 51), colour), ("box", (8, 57, 56, 60), colour))


def columns(colour):
    return tuple(("box", (x, 40, x + 3, 64), colour) for x in (16, 25, 36, 45))


def buttons(colour):
    return tuple(("disc", (32, y, 1.6, 1.6), colour) for y in (46, 52, 58))


def spots(colour):
    return tuple(
        ("disc", (x, y, 4, 2.6), colour) for x, y in ((17, 50), (27, 58), (36, 47), (46, 55), (22, 44), (40, 62))
    )


def tie(colour):
    return (("poly", (30, 42, 34, 42, 36, 56, 32, 61, 28, 56), colour),)


def collar(colour):
    return (("poly", (24, 40, 32, 52, 40, 40), colour),)


OUTFITS = {
    "firefighter": Outfit(
        (170, 50, 30), rows(YELLOW), helmet(RED, YELLOW),
        (("disc", (53, 53, 6, 7), ORANGE), ("poly", (48, 51, 53, 40, 58, 51), ORANGE), ("disc", (53, 55, 3, 4), YELLOW)),
    ),
    "police officer": Outfit(
        NAVY, buttons(GOLD), peaked_cap(NAVY, GOLD),
        (("poly", (53, 44, 55, 50, 61, 50, 56, 54, 58, 60, 53, 56, 48, 60, 50, 54, 45, 50, 51, 50), GOLD),),
    ),
    "pilot": Outfit(
        (60, 60, 75), tie(BLACK), peaked_cap(WHITE, BLUE),
        (("poly", (53, 42, 55, 50, 62, 54, 62, 56, 55, 54, 54, 59, 57, 61, 49, 61, 52, 59, 51, 54, 44, 56, 44, 54, 51, 50), SILVER),),
    ),
    "farmer": Outfit(
        (200, 80, 60), straps(BLUE), (("disc", (32, 16, 21, 4), YELLOW), ("disc", (32, 11, 10, 6), YELLOW), ("box", (22, 12, 42, 14), BROWN)),
        (("poly", (49, 49, 57, 49, 53, 63), ORANGE), ("line", (2, 53, 49, 50, 43), GREEN), ("line", (2, 53, 49, 56, 43), GREEN)),
    ),
    "builder": Outfit(
        ORANGE, columns(SILVER), helmet(YELLOW, YELLOW),
        (("box", (46, 47, 60, 59), (180, 75, 50)), ("line", (1.2, 46, 53, 60, 53), CREAM), ("line", (1.2, 53, 47, 53, 53), CREAM)),
    ),
    "soldier": Outfit(
        (100, 115, 65), spots(DARK_GREEN), helmet(DARK_GREEN, DARK_GREEN),
        (("poly", (49, 43, 57, 43, 55, 51, 51, 51), BLUE), ("disc", (53, 55, 5, 5), GOLD)),
    ),
    "astronaut": Outfit(
        (235, 238, 245), (("box", (24, 49, 40, 60), GREY), ("box", (26, 51, 30, 54), RED), ("box", (34, 51, 38, 54), GREEN)),
        (("disc", (32, 9, 17, 4), (210, 225, 245)), ("line", (3, 16, 12, 14, 24, 16, 38), (210, 225, 245)), ("line", (3, 48, 12, 50, 24, 48, 38), (210, 225, 245))),
        (("disc", (53, 52, 6, 6), PURPLE), ("line", (1.8, 44, 56, 62, 48), YELLOW)),
    ),
    "plumber": Outfit(
        RED, straps(NAVY), cap(RED),
        (("line", (3.5, 49, 62, 55, 50), SILVER), ("disc", (56, 47, 4.5, 4.5), SILVER), ("disc", (58, 45, 2.2, 2.2), BLACK)),
    ),
    "carpenter": Outfit(
        (140, 150, 90), apron(BROWN), band(BROWN),
        (("line", (3, 52, 62, 52, 48), TAN), ("box", (45, 44, 60, 49), GREY)),
    ),
    "mechanic": Outfit(
        GREY, (("box", (18, 47, 27, 56), BLACK), ("line", (1.5, 32, 42, 32, 64), BLACK)), cap(BLUE),
        (("disc", (53, 53, 7, 7), BLACK), ("box", (51.5, 44, 54.5, 62), BLACK), ("box", (44, 51.5, 62, 54.5), BLACK), ("disc", (53, 53, 3, 3), WHITE)),
    ),
    "boxer": Outfit(
        WHITE, (("box", (8, 56, 56, 64), BLUE),), (("box", (20, 12, 44, 16), RED), ("box", (19, 16, 22, 30), RED), ("box", (42, 16, 45, 30), RED)),
        (("disc", (53, 52, 8, 8), RED), ("box", (48, 58, 58, 63), WHITE)),
    ),
    "judge": Outfit(
        BLACK, (("poly", (28, 42, 36, 42, 38, 57, 26, 57), WHITE),), tuple(("disc", (x, y, 4.5, 4.5), (225, 225, 225)) for x, y in ((20, 22), (21, 15), (27, 11), (32, 10), (37, 11), (43, 15), (44, 22))),
        (("line", (1.6, 53, 44, 53, 61), GOLD), ("line", (1.6, 45, 46, 61, 46), GOLD), ("disc", (46, 54, 3.5, 2), GOLD), ("disc", (60, 54, 3.5, 2), GOLD)),
    ),
    "nurse": Outfit(
        (140, 205, 235), collar(WHITE), (("poly", (22, 15, 25, 7, 39, 7, 42, 15), WHITE), ("box", (30.5, 8, 33.5, 14), RED), ("box", (29, 9.5, 35, 12.5), RED)),
        (("box", (46, 46, 60, 60), WHITE), ("box", (51.5, 48, 54.5, 58), RED), ("box", (48, 51.5, 58, 54.5), RED)),
    ),
    "teacher": Outfit(
        (50, 110, 80), collar(CREAM), (),
        (("disc", (50.5, 54, 5, 6), RED), ("disc", (55.5, 54, 5, 6), RED), ("line", (1.8, 53, 49, 54, 43), BROWN)),
    ),
    "librarian": Outfit(
        PURPLE, buttons(WHITE), (),
        (("box", (46, 46, 60, 62), BLUE), ("box", (48, 48, 49.5, 60), WHITE), ("box", (52, 50, 58, 52), WHITE), ("box", (52, 55, 58, 57), WHITE)),
    ),
    "secretary": Outfit(
        (245, 180, 200), tie(RED), (),
        (("box", (46, 45, 59, 62), CREAM), ("line", (1.2, 48, 50, 57, 50), GREY), ("line", (1.2, 48, 54, 57, 54), GREY), ("line", (2, 55, 60, 62, 46), YELLOW)),
    ),
    "dancer": Outfit(
        PINK, (("disc", (32, 63, 26, 6), WHITE),), (("poly", (24, 15, 24, 8, 28, 12, 32, 5, 36, 12, 40, 8, 40, 15), GOLD),),
        (("disc", (49, 59, 3.4, 2.6), BLACK), ("disc", (58, 57, 3.4, 2.6), BLACK), ("line", (1.6, 52, 59, 52, 46, 61, 44, 61, 57), BLACK)),
    ),
    "housekeeper": Outfit(
        (65, 65, 80), apron(WHITE), (("disc", (32, 14, 12, 6), WHITE), ("disc", (32, 9, 4, 3), PINK)),
        (("line", (2, 60, 43, 53, 54), TAN), ("poly", (49, 52, 56, 55, 53, 63, 44, 60), YELLOW)),
    ),
    "florist": Outfit(
        (215, 230, 180), apron(GREEN), tuple(("disc", (x, y, 3, 3), c) for x, y, c in ((22, 15, PINK), (27, 12, YELLOW), (32, 11, RED), (37, 12, YELLOW), (42, 15, PINK))),
        (("line", (1.8, 53, 52, 53, 63), GREEN), *(("disc", (x, y, 3, 3), PINK) for x, y in ((53, 45), (49, 48), (57, 48), (51, 52), (55, 52))), ("disc", (53, 49, 2.4, 2.4), YELLOW)),
    ),
    "receptionist": Outfit(
        TEAL, collar(WHITE), (("line", (2.4, 21, 26, 22, 14, 32, 10, 42, 14, 43, 26), BLACK), ("disc", (21, 27, 2.6, 4), BLACK)),
        (("poly", (46, 57, 48, 49, 58, 49, 60, 57), GOLD), ("disc", (53, 47, 2, 2), GOLD), ("box", (44, 57, 62, 60), BROWN)),
    ),
    "hairdresser": Outfit(
        (235, 215, 90), columns(BLACK), (),
        (("line", (2, 48, 44, 56, 57), SILVER), ("line", (2, 58, 44, 50, 57), SILVER), ("disc", (48, 59, 3.4, 3.4), RED), ("disc", (58, 59, 3.4, 3.4), RED)),
    ),
    "baker": Outfit(
        CREAM, buttons(BROWN), toque(WHITE),
        (("disc", (53, 54, 9, 5.5), TAN), *(("line", (1.5, x, 51, x + 2, 57), BROWN) for x in (47, 52, 57))),
    ),
    "cashier": Outfit(
        (225, 95, 85), (*rows(WHITE), *columns(WHITE)), (("poly", (20, 17, 24, 12, 40, 12, 44, 17), GREEN),),
        (("box", (44, 48, 62, 59), GREEN), ("disc", (53, 53.5, 3.6, 3.6), CREAM)),
    ),
    "tailor": Outfit(
        (165, 165, 225), (("line", (3, 26, 40, 24, 60), YELLOW), ("line", (3, 38, 40, 40, 60), YELLOW)), (),
        (("box", (47, 45, 59, 48), BROWN), ("box", (49, 48, 57, 58), RED), ("box", (47, 58, 59, 61), BROWN)),
    ),
    "person": Outfit((165, 170, 180), (), (), ()),
}  # fmt: skip

THING_SHAPES: dict[str, tuple[Shape, ...]] = {
    "cat": (("poly", (18, 26, 20, 10, 29, 20), GREY), ("poly", (46, 26, 44, 10, 35, 20), GREY), ("disc", (32, 30, 15, 13), GREY), ("disc", (32, 54, 17, 14), GREY), ("disc", (26, 28, 2.5, 3.5), YELLOW), ("disc", (38, 28, 2.5, 3.5), YELLOW), ("poly", (30, 34, 34, 34, 32, 37), PINK)),
    "dog": (("disc", (32, 30, 14, 14), TAN), ("disc", (17, 30, 5, 11), BROWN), ("disc", (47, 30, 5, 11), BROWN), ("disc", (32, 55, 17, 13), TAN), ("disc", (32, 36, 7, 6), CREAM), ("disc", (32, 34, 3, 2.2), BLACK), ("disc", (26, 26, 2, 2), BLACK), ("disc", (38, 26, 2, 2), BLACK)),
    "bird": (("disc", (34, 36, 16, 12), BLUE), ("disc", (22, 24, 9, 9), BLUE), ("poly", (14, 22, 4, 26, 14, 28), ORANGE), ("disc", (20, 22, 2, 2), BLACK), ("poly", (46, 34, 62, 28, 60, 42), NAVY), ("line", (2, 30, 47, 30, 58), ORANGE), ("line", (2, 38, 47, 38, 58), ORANGE)),
    "fish": (("disc", (28, 34, 19, 12), ORANGE), ("poly", (44, 34, 60, 22, 60, 46), ORANGE), ("box", (24, 23, 28, 45), WHITE), ("box", (36, 25, 40, 43), WHITE), ("disc", (16, 31, 2.4, 2.4), BLACK)),
    "car": (("box", (6, 34, 58, 48), RED), ("poly", (14, 34, 22, 22, 44, 22, 52, 34), RED), ("poly", (19, 33, 24, 25, 32, 25, 32, 33), (200, 230, 250)), ("poly", (35, 33, 35, 25, 42, 25, 47, 33), (200, 230, 250)), ("disc", (18, 49, 6, 6), BLACK), ("disc", (46, 49, 6, 6), BLACK)),
    "cup": (("disc", (46, 36, 9, 9), TEAL), ("disc", (46, 36, 5, 5), WHITE), ("poly", (14, 20, 46, 20, 42, 54, 18, 54), TEAL), ("disc", (30, 20, 16, 4), BROWN)),
    "chair": (("box", (18, 8, 22, 58), BROWN), ("box", (18, 34, 48, 39), BROWN), ("box", (44, 38, 48, 58), BROWN), ("box", (22, 12, 26, 34), TAN)),
    "lamp": (("poly", (20, 10, 44, 10, 52, 32, 12, 32), YELLOW), ("box", (30, 32, 34, 54), BLACK), ("disc", (32, 56, 12, 4), BLACK)),
    "house": (("box", (14, 30, 50, 58), CREAM), ("poly", (8, 31, 32, 10, 56, 31), RED), ("box", (28, 42, 36, 58), BROWN), ("box", (18, 36, 25, 43), BLUE), ("box", (39, 36, 46, 43), BLUE)),
    "tree": (("box", (28, 38, 36, 62), BROWN), ("disc", (32, 26, 18, 17), GREEN), ("disc", (24, 22, 3, 3), RED), ("disc", (40, 26, 3, 3), RED), ("disc", (31, 35, 3, 3), RED)),
    "mountain": (("poly", (0, 58, 22, 16, 44, 58), GREY), ("poly", (26, 58, 46, 26, 64, 58), SILVER), ("poly", (16, 28, 22, 16, 28, 28), WHITE), ("box", (0, 56, 64, 64), GREEN)),
    "beach": (("box", (0, 30, 64, 46), BLUE), ("box", (0, 46, 64, 64), CREAM), ("disc", (48, 14, 8, 8), YELLOW), ("poly", (10, 54, 26, 40, 42, 54), RED), ("line", (1.6, 26, 41, 26, 62), BROWN)),
}  # fmt: skip

BLOOD = (160, 5, 15)
POSTER_SHAPES: dict[str, tuple[Shape, ...]] = {
    "gender equality": (("disc", (24, 28, 8, 8), BLUE), ("disc", (40, 28, 8, 8), PINK), ("box", (16, 42, 48, 45), BLACK), ("box", (16, 49, 48, 52), BLACK)),
    "racial equality": (("disc", (18, 32, 6, 9), (245, 210, 180)), ("disc", (32, 32, 6, 9), (190, 130, 85)), ("disc", (46, 32, 6, 9), (95, 60, 40)), ("box", (16, 47, 48, 50), BLACK)),
    "nudity considered inappropriate": (("disc", (32, 26, 6, 6), TAN), ("box", (25, 32, 39, 52), TAN), ("line", (4, 14, 14, 50, 52), RED)),
    "bloody considered inappropriate": (("disc", (32, 38, 9, 9), BLOOD), ("poly", (24, 34, 32, 16, 40, 34), BLOOD), ("line", (4, 14, 14, 50, 52), BLACK)),
    "zombie considered inappropriate": (("disc", (32, 32, 13, 15), (120, 165, 105)), ("disc", (27, 28, 3, 3), WHITE), ("disc", (37, 28, 3, 3), WHITE), ("line", (4, 14, 14, 50, 52), BLACK)),
}  # fmt: skip
