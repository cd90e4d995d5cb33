"""Objects with masks among the examples: test renderings of the data set everyday-objects.

    nls data everyday-objects && python scripts/make_examples.py --objects data

They show what the focus score is: with the mask at hand nothing needs to be painted. The shipped
networks were trained on other renderings of these objects.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from nls_core.data import objects

QUALITY = 92
CHOSEN = {  # the end of an object's name -> title
    "mammals-dogs-fox": "Fox, pasted in",
    "food-vegetables-onion": "Onion, pasted in",
    "household-kettle": "Kettle, pasted in",
    "guitar_electric": "Guitar, pasted in",
}
CREDITS = """## photos/object-*.jpg, photos/object-*.png

Renderings of the data set everyday-objects (docs/photos.md): cut-outs of the Debian package
`tuxpaint-stamps-default` 2022.06.04 (GPL-2; authors in its changelog) on generated backgrounds or
crops of the photographs of `mate-backgrounds` (GPL-2+), `lomiri-wallpapers-16.04` (CC-BY-4.0,
Aitzol Berasategi) and `plasma-workspace-wallpapers` (GPL-2+). The PNG is the object's mask.

"""


def from_data(data_dir: Path, out: Path) -> list[dict[str, str]]:
    """Write the pictures and masks; their entries for examples.json."""
    collection = objects.read(data_dir)
    entries = []
    for ending, title in CHOSEN.items():
        index = next(i for i, o in enumerate(collection.objects) if o.name.endswith(ending))
        stamp, made = collection.objects[index], objects.fixed(collection, [index])
        file, mask = (f"photos/object-{ending.replace('_', '-')}.{kind}" for kind in ("jpg", "png"))
        pixels = made.images[0].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(out / file, quality=QUALITY, optimize=True)
        Image.fromarray(made.masks[0].numpy().astype("uint8") * 255).save(out / mask)
        credit = (
            f"tuxpaint-stamps-default 2022.06.04, {stamp.source}, GPL-2; pasted on a background"
        )
        entries.append(
            {
                "file": file,
                "family": "photos",
                "label": stamp.label,
                "title": title,
                "credit": credit,
                "mask": mask,
            }
        )
    return entries
