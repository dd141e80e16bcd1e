# Two targets of one file:
#   docker build --target gpu --tag handful:gpu .
#   docker build --target cpu --tag handful:cpu --build-arg PIP_ARGS="--extra-index-url INDEX" .
# where INDEX is PyTorch's own index of CPU builds. A model is mounted at /srv/handful (a HANDFUL_HOME, read-only will
# do), or baked in: --build-context models=FOLDER, where FOLDER is a HANDFUL_HOME's models/.
# Podman and buildah leave HEALTHCHECK out unless told --format docker.

ARG CPU_BASE=ubuntu:24.04
# torch's wheels bring their own CUDA and find it by RPATH, ahead of LD_LIBRARY_PATH. So of NVIDIA's images this is the
# one without cuBLAS, cuDNN and NCCL. What it adds is no second CUDA, but the check of the host's driver before
# anything starts, and the libraries with which the older driver of a data centre runs this CUDA. Same Ubuntu, same
# Python as above.
ARG GPU_BASE=nvidia/cuda:13.0.2-base-ubuntu24.04

# Stands in for --build-context models=FOLDER: no model.
FROM scratch AS models

FROM ${CPU_BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/handful
ENV PATH=/opt/handful/bin:$PATH
WORKDIR /src
COPY requirements.txt .
ARG PIP_ARGS=""
# The cache keeps gigabytes of wheels from one build to the next, and out of the image.
# hadolint ignore=DL3042,SC2086
RUN --mount=type=cache,target=/root/.cache/pip pip install $PIP_ARGS --requirement requirements.txt bentoml==1.4.39
COPY pyproject.toml README.md LICENSE ./
COPY handful handful
COPY service service
COPY training training
RUN pip install --no-cache-dir --no-index --no-deps --no-build-isolation .

FROM ${CPU_BASE} AS cpu
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home handful && install --directory --owner handful /srv/handful
COPY --from=build /opt/handful /opt/handful
RUN ! ls -d /opt/handful/lib/python3*/site-packages/nvidia || { echo 'That is CUDA: give PIP_ARGS, see above.'; exit 1; }
COPY --from=models . /srv/handful/models/
# All that is ever written lies in HOME and BENTOML_HOME, so --read-only with --tmpfs /tmp works.
# No OMP_NUM_THREADS: the service counts the cores that the container may use.
ENV PATH=/opt/handful/bin:$PATH \
    HANDFUL_HOME=/srv/handful \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=true \
    PYTHONUNBUFFERED=1
WORKDIR /srv/handful
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
# It wants HANDFUL_API_KEY: beyond loopback nothing is answered without a key.
CMD ["handful", "serve", "--host", "0.0.0.0"]

# From here on as above.
FROM ${GPU_BASE} AS gpu
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home handful && install --directory --owner handful /srv/handful
COPY --from=build /opt/handful /opt/handful
COPY --from=models . /srv/handful/models/
ENV PATH=/opt/handful/bin:$PATH \
    HANDFUL_HOME=/srv/handful \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=true \
    PYTHONUNBUFFERED=1
WORKDIR /srv/handful
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
CMD ["handful", "serve", "--host", "0.0.0.0"]
