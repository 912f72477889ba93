"""Palettes of datasets whose masks hold ids that are not 0, 1, 2, ...: which ids are which class, and which are none."""

from dataclasses import replace

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.palettes import BUILT_IN_PALETTES, Colour, Palette, named, voc_colormap

# the 19 classes of Cordts et al. 2016, arXiv:1604.01685, with their ids in `*_labelIds.png`
_CITYSCAPES: list[tuple[str, int, Colour]] = [
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
]
_CITYSCAPES_VOID = ((0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140)) + (
    (180, 165, 180),
    (150, 100, 100),
    (150, 120, 90),
    (0, 0, 90),
    (0, 0, 110),
)

# Zhou et al. 2017, arXiv:1608.05442, in the order of the ids 1 to 150
_ADE20K = (
    "wall,building,sky,floor,tree,ceiling,road,bed,windowpane,grass,cabinet,sidewalk,person,earth,door,table,"
    "mountain,plant,curtain,chair,car,water,painting,sofa,shelf,house,sea,mirror,rug,field,armchair,seat,fence,"
    "desk,rock,wardrobe,lamp,bathtub,railing,cushion,base,box,column,signboard,chest of drawers,counter,sand,"
    "sink,skyscraper,fireplace,refrigerator,grandstand,path,stairs,runway,case,pool table,pillow,screen door,"
    "stairway,river,bridge,bookcase,blind,coffee table,toilet,flower,book,hill,bench,countertop,stove,palm,"
    "kitchen island,computer,swivel chair,boat,bar,arcade machine,hovel,bus,towel,light,truck,tower,chandelier,"
    "awning,streetlight,booth,television receiver,airplane,dirt track,apparel,pole,land,bannister,escalator,"
    "ottoman,bottle,buffet,poster,stage,van,ship,fountain,conveyer belt,canopy,washer,plaything,swimming pool,"
    "stool,barrel,basket,waterfall,tent,bag,minibike,cradle,oven,ball,food,step,tank,trade name,microwave,pot,"
    "animal,bicycle,lake,dishwasher,screen,blanket,sculpture,hood,sconce,vase,traffic light,tray,ashcan,fan,"
    "pier,crt screen,plate,monitor,bulletin board,shower,radiator,glass,clock,flag"
)

# Wang et al. 2021, arXiv:2110.08733; 0 is no data
_LOVEDA: list[tuple[str, Colour]] = [
    ("background", (255, 255, 255)),
    ("building", (255, 0, 0)),
    ("road", (255, 255, 0)),
    ("water", (0, 0, 255)),
    ("barren", (159, 129, 183)),
    ("forest", (0, 255, 0)),
    ("agriculture", (255, 195, 128)),
]


def _from_one(source: str, entries: list[tuple[str, Colour]]) -> Palette:
    """Classes with the ids 1, 2, ...; 0 is none."""
    ids = tuple((index + 1,) for index in range(len(entries)))
    return named(source, entries, by="indices", values=ids, void_values=(0,))


_cityscapes = named(
    "cityscapes",
    [(name, colour) for name, _, colour in _CITYSCAPES],
    void=_CITYSCAPES_VOID,
    values=tuple((id_,) for _, id_, _ in _CITYSCAPES),
    void_values=(*sorted({*range(34)} - {id_ for _, id_, _ in _CITYSCAPES}), IGNORE_INDEX),
)

NAMED_PALETTES = {
    **BUILT_IN_PALETTES,
    "cityscapes": _cityscapes,
    # the ids 0 to 18 of `*_labelTrainIds.png`
    "cityscapes_train": replace(
        _cityscapes, source="cityscapes_train", values=(), void_values=(IGNORE_INDEX,), by="indices"
    ),
    "ade20k": _from_one("ade20k", list(zip(_ADE20K.split(","), voc_colormap(151)[1:], strict=True))),
    "loveda": _from_one("loveda", _LOVEDA),
}
