# Three targets:
#   docker build --target lean --tag handful:lean .
#   docker build --target gpu --tag handful:gpu .
#   docker build --target cpu --tag handful:cpu --build-arg PIP_ARGS="--extra-index-url INDEX" .
# where INDEX is PyTorch's own index of CPU builds. lean has ONNX Runtime in place of torch: it answers from models that
# `handful export NAME --to artifact` has given their file, and learns nothing. The models are mounted at /srv/handful (a HANDFUL_HOME, read-only is
# enough) or built into the image: --build-context models=FOLDER, where FOLDER is the models/ of a HANDFUL_HOME.
# Podman and buildah leave HEALTHCHECK out unless they get --format docker.
# Only the owner of a model may read its embeddings, so a mounted HANDFUL_HOME needs --user "$(id -u):$(id -g)".
#
# A tag may be moved to another image. Where the build must be the same for ever, name both bases by their digest, which
# `docker buildx imagetools inspect NAME` prints: --build-arg CPU_BASE=ubuntu@sha256:... and GPU_BASE alike. No digest
# stands here because none could be looked up and tried where this file was written.

ARG CPU_BASE=ubuntu:24.04
# torch's wheels bring their own CUDA and find it by RPATH, before LD_LIBRARY_PATH. So this is NVIDIA's image without
# cuBLAS, cuDNN and NCCL. It adds the check of the host's driver at the start, and the compatibility libraries with which
# the older driver of a data centre runs this CUDA. It has the same Ubuntu and the same Python as the CPU image.
ARG GPU_BASE=nvidia/cuda:13.0.2-base-ubuntu24.04

# Used without --build-context models=FOLDER: no model.
FROM scratch AS models

FROM ${CPU_BASE} AS tools
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/handful
ENV PATH=/opt/handful/bin:$PATH
WORKDIR /src

FROM tools AS build
COPY requirements.txt requirements-gpu.txt ./
ARG PIP_ARGS=""
# The cache mount keeps gigabytes of wheels between builds without putting them into the image. A file whose hash is not
# listed is not installed; torch for CPUs alone has no listed hash, as its index could not be reached to take it.
# hadolint ignore=DL3013,DL3042,SC2046,SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: --requirement requirements.txt \
    && if [ -z "$PIP_ARGS" ]; then pip install --require-hashes --no-deps --requirement requirements-gpu.txt; \
    else pip install $PIP_ARGS --no-deps $(grep --only-matching '^torch[a-z]*==[0-9.]*' requirements-gpu.txt); fi \
    && pip check
COPY pyproject.toml README.md LICENSE ./
COPY handful handful
COPY service service
COPY training training
RUN pip install --no-cache-dir --no-index --no-deps --no-build-isolation .
# What reads other stores (s3fs, gcsfs, adlfs), for HANDFUL_FOLLOW; the version that goes with fsspec, without a hash.
ARG STORES=""
# hadolint ignore=DL3013,SC2086
RUN if [ -n "$STORES" ]; then pip install --no-cache-dir $STORES; fi

FROM tools AS lean-build
COPY requirements-lean.txt ./
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: --requirement requirements-lean.txt && pip check
COPY pyproject.toml README.md LICENSE ./
COPY handful handful
COPY service service
COPY training training
RUN pip install --no-cache-dir --no-index --no-deps --no-build-isolation .
ARG STORES=""
# hadolint ignore=DL3013,SC2086
RUN if [ -n "$STORES" ]; then pip install --no-cache-dir $STORES; fi && pip uninstall --yes setuptools pip

FROM ${CPU_BASE} AS runtime
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home handful && install --directory --owner handful /srv/handful
# Everything that is written lies in HOME and BENTOML_HOME, so --read-only with --tmpfs /tmp works.
# OMP_NUM_THREADS is not set: the service counts the cores that the container may use.
ENV PATH=/opt/handful/bin:$PATH \
    HANDFUL_HOME=/srv/handful \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=true \
    PYTHONUNBUFFERED=1
WORKDIR /srv/handful
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
# HANDFUL_API_KEY is required: without a key only loopback addresses are served.
CMD ["handful", "serve", "--host", "0.0.0.0"]

FROM runtime AS cpu
COPY --from=build /opt/handful /opt/handful
RUN ! ls -d /opt/handful/lib/python3*/site-packages/nvidia || { echo 'That is CUDA: set PIP_ARGS, described at the top of the Dockerfile.'; exit 1; }
COPY --from=models --chown=10001:10001 . /srv/handful/models/
USER 10001:10001

# It can neither train nor explain, and says so.
FROM runtime AS lean
COPY --from=lean-build /opt/handful /opt/handful
COPY --from=models --chown=10001:10001 . /srv/handful/models/
USER 10001:10001

# Another base, so what stands under runtime stands here once more.
FROM ${GPU_BASE} AS gpu
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home handful && install --directory --owner handful /srv/handful
ENV PATH=/opt/handful/bin:$PATH \
    HANDFUL_HOME=/srv/handful \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=true \
    PYTHONUNBUFFERED=1
WORKDIR /srv/handful
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
CMD ["handful", "serve", "--host", "0.0.0.0"]
COPY --from=build /opt/handful /opt/handful
COPY --from=models --chown=10001:10001 . /srv/handful/models/
USER 10001:10001
