"""The same work in a bare server, to measure ours against: `python -m nls_core.web.bench.bare`.

One endpoint that decodes a picture, predicts and makes a GradCAM of each of two models: nothing is
checked, bounded, kept or explained. NLS_BARE names the library, fastapi or litserve.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import torch

from nls_core import cams, zoo
from nls_core.analysis import cost
from nls_core.images import PREPROCESS, decode_image
from nls_core.settings import Settings

PATH = "/predict"


def work(ids: list[str]) -> Callable[[bytes], dict[str, Any]]:
    """From the bytes of a picture to probabilities and maps of some models."""
    models = [zoo.load(model_id) for model_id in ids]
    shapes = [(m.channels, m.input_size, m.input_size) for _, m in models]
    layers = [cams.default_layer(model, s) for (model, _), s in zip(models, shapes, strict=True)]
    seconds = [
        cost.forward_seconds(model, torch.zeros(1, *s))
        for (model, _), s in zip(models, shapes, strict=True)
    ]
    # as the app does, or it would win by that
    torch.set_num_threads(cost.threads_for(max(seconds), torch.get_num_threads()))

    def answer(data: bytes) -> dict[str, Any]:
        picture, found = decode_image(data), {}
        for (model, manifest), layer in zip(models, layers, strict=True):
            x = PREPROCESS[manifest.preprocess](picture, manifest.input_size, manifest.channels).x
            seen = cams.record(model, x, layer)
            label = int(seen.logits.argmax())
            values = cams.maps_of(model, x, seen, [label])[0]
            shares = seen.logits.detach().softmax(1)[0].tolist()
            found[manifest.id] = {"probabilities": shares, "cam": values.tolist()}
        return found

    return answer


def fastapi(ids: list[str], port: int) -> None:
    """One endpoint, which FastAPI runs in its threads."""
    import uvicorn  # noqa: PLC0415
    from fastapi import FastAPI, UploadFile  # noqa: PLC0415

    app, answer, alone = FastAPI(), work(ids), threading.Lock()

    def predict(image: UploadFile) -> dict[str, Any]:
        with alone:  # maps hook into the modules
            return answer(image.file.read())

    predict.__annotations__ = {"image": UploadFile, "return": dict[str, Any]}
    app.post(PATH)(predict)
    app.get("/health")(lambda: "ok")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def litserve(ids: list[str], port: int) -> None:
    """The same by LitServe, of the extra `bench`."""
    from nls_core.web.bench import bare_litserve  # noqa: PLC0415 - optional

    bare_litserve.serve(port)


SERVERS: dict[str, Callable[[list[str], int], None]] = {"fastapi": fastapi, "litserve": litserve}


def main() -> None:
    """Serve the models of NLS_BARE_MODELS at NLS_PORT."""
    settings, ids = Settings(), os.environ["NLS_BARE_MODELS"].split(",")
    torch.set_num_threads(settings.threads or torch.get_num_threads())
    SERVERS[os.environ["NLS_BARE"]](ids, settings.port)


if __name__ == "__main__":
    main()
