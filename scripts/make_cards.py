"""Write the model cards anew from the manifests, without training. Run by `make tables`."""

from __future__ import annotations

from nls_core import files, zoo
from nls_core.settings import Settings
from nls_core.zoo import cards


def main() -> None:
    """Write the card of every model in the models folder."""
    models_dir = Settings().models_dir
    for model_id in zoo.available(models_dir):
        path = zoo.folder_of(model_id, models_dir) / zoo.CARD
        files.write_text(path, cards.card(zoo.read_manifest(model_id, models_dir)))


if __name__ == "__main__":
    main()
