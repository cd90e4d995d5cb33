"""The bare endpoint by LitServe, of the extra `bench`: its workers import the class from here.

LitServe reads what a request is off an annotation, so that here they are no strings.
"""

import os
from typing import Any

import litserve  # type: ignore[import-not-found,unused-ignore]
from fastapi import Request

from nls_core.web.bench import bare


class Api(litserve.LitAPI):  # type: ignore[misc,unused-ignore]
    """The work of `bare` for the models of NLS_BARE_MODELS."""

    def setup(self, device: str) -> None:
        """Load the models, in the process that computes."""
        self.answer = bare.work(os.environ["NLS_BARE_MODELS"].split(","))

    def decode_request(self, request: Request) -> bytes:
        """The picture's bytes."""
        data: bytes = request["image"].file.read()  # a form by now
        return data

    def predict(self, x: bytes) -> dict[str, Any]:
        """Probabilities and maps."""
        return self.answer(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As they are."""
        return output


def serve(port: int) -> None:
    """Serve until stopped."""
    litserve.LitServer(Api(api_path=bare.PATH), accelerator="cpu").run(
        host="127.0.0.1", port=port, generate_client_file=False, num_api_servers=1
    )
