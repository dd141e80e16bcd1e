"""LitServe with its dynamic batching: at most 32 images, at most 5 ms of waiting.

python litserve_server.py MODEL_FOLDER PORT
"""

import sys

import litserve
import torch
from model import Model


class Api(litserve.LitAPI):
    """Decode, network and answer of LitServe's own worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        self.model = Model(sys.argv[1])

    def decode_request(self, request) -> torch.Tensor:
        """LitServe hands over the form; an annotation here would make it another kind of request."""
        return self.model.decode(request["image"].file.read())

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(inputs)

    def predict(self, batch: torch.Tensor) -> list[list[float]]:
        return self.model.probabilities(batch)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, object]:
        return self.model.answer(output)


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", healthcheck_path="/readyz")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
