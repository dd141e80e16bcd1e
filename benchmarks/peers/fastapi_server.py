"""FastAPI as people write it: a def endpoint, run in its thread pool, one image a call.

python fastapi_server.py MODEL_FOLDER PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, UploadFile
from model import Model

app = FastAPI()


@app.get("/readyz")
def readyz() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, object]:
    pixels = MODEL.decode(image.file.read())
    return MODEL.answer(MODEL.probabilities(pixels.unsqueeze(0))[0])


if __name__ == "__main__":
    MODEL = Model(sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
