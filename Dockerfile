# syntax=docker/dockerfile:1
# CPU:   docker build -t sfv .
# CUDA:  docker build -t sfv:cuda --build-arg VARIANT=cuda .     (run with --gpus all)
# Another version of the base, or other extras: --build-arg PYTHON=... --build-arg EXTRAS=serve,ray
ARG PYTHON=3.11.13-slim-bookworm
ARG VARIANT=cpu

FROM python:${PYTHON} AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /build

# What the package and its extras need, as a list: this layer changes with pyproject.toml alone.
FROM base AS requirements
ARG EXTRAS=serve,postgres,s3
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py pyproject.toml "${EXTRAS}" > requirements.txt

# The wheel, built where nothing of the build is kept.
FROM base AS wheel
RUN pip install --no-cache-dir "setuptools==84.2.1"
COPY pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md constraints.txt ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# torch is the largest layer and changes least. PyPI's build brings CUDA's libraries; the host brings the driver.
FROM base AS torch-cpu
ENV TORCH_INDEX=https://download.pytorch.org/whl/cpu

FROM base AS torch-cuda
ENV TORCH_INDEX=https://pypi.org/simple

# hadolint ignore=DL3006
FROM torch-${VARIANT} AS final
RUN --mount=type=bind,source=constraints.txt,target=constraints.txt \
    pip install --no-cache-dir --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple -c constraints.txt torch
RUN --mount=type=bind,source=constraints.txt,target=constraints.txt \
    --mount=type=bind,from=requirements,source=/build/requirements.txt,target=requirements.txt \
    pip install --no-cache-dir -c constraints.txt -r requirements.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && groupadd --gid 10001 sfv \
    && useradd --uid 10001 --gid 10001 --create-home sfv \
    && install --directory --owner=sfv --group=sfv /data
LABEL org.opencontainers.image.title="sfv" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV SFV_CACHE=/data/cache \
    HF_HOME=/data/hub
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["sfv"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
