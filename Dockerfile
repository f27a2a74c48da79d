# lorikeet in a container: no Python, no compiler, no build step at start, not root.
#
#   docker build -t lorikeet .                                                  the server, without a base's weights
#   docker build -t lorikeet:smollm2 --build-arg BASE=smollm2-135m-instruct .   with a base baked in, ready to map
#   docker build -t lorikeet:cuda --target cuda .                               with ONNX Runtime's CUDA 12 provider
#
# glibc only: ONNX Runtime publishes no musl build, so the images are Debian and Ubuntu, never Alpine.
ARG NODE_IMAGE=node:24-bookworm-slim
ARG CUDA_IMAGE=nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04
# What `lorikeet import` takes: a catalogue name or a hub id. Empty: no base, one is fetched at the first start.
ARG BASE=""
# int8, nf4 or f32: the serving files that are baked in are of this mode.
ARG WEIGHTS=int8

FROM ${NODE_IMAGE} AS build
WORKDIR /app
# Of its own, so that an edit of the sources leaves the layer of the packages.
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

FROM build AS pruned
RUN node scripts/prune-modules.mjs

# What both images run: readable by everybody, writable by root only.
FROM ${NODE_IMAGE} AS app
WORKDIR /app
COPY --from=pruned /app/node_modules node_modules
COPY --from=build /app/package.json /app/LICENSE /app/NOTICE ./
COPY --from=build /app/models models
COPY --from=build /app/bin bin
COPY --from=build /app/dist dist

# The base, quantized and laid out for the CPU, and caches that a first start would make.
FROM app AS base
ARG BASE
ARG WEIGHTS
ENV LORIKEET_HOME=/data LORIKEET_WEIGHTS=${WEIGHTS} NODE_COMPILE_CACHE=/data/cache/node
# The folders that volumes are mounted at belong to the server's user.
RUN mkdir -p /data/models /data/jobs /data/cache/adapters /data/cache/jobs /data/cache/uploads \
  && if [ -n "${BASE}" ]; then \
    node bin/lorikeet.mjs import "${BASE}" --out /data/models/base; \
  fi \
  && chown -R 1000:1000 /data
# Node keeps a cache of compiled code for each user.
USER 1000:1000
RUN if [ -n "${BASE}" ]; then \
    LORIKEET_MODEL=/data/models/base node bin/lorikeet.mjs serve --prewarm; \
  fi

FROM build AS cuda-libraries
# Of what is fetched the CUDA provider is used; TensorRT's is not.
RUN node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12 \
  && rm node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime_providers_tensorrt.so

FROM ${CUDA_IMAGE} AS cuda
ARG BASE
ARG WEIGHTS
COPY --from=app /usr/local/bin/node /usr/local/bin/node
COPY --from=app /app /app
COPY --from=cuda-libraries /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64 \
  /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64
COPY --from=base --chown=1000:1000 /data /data
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 LORIKEET_HOME=/data LORIKEET_WEIGHTS=${WEIGHTS} \
  LORIKEET_MODEL=${BASE:+/data/models/base} NODE_COMPILE_CACHE=/data/cache/node
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "bin/lorikeet.mjs", "serve"]

# The last stage is the default one.
FROM app AS cpu
ARG BASE
ARG WEIGHTS
COPY --from=base --chown=1000:1000 /data /data
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 LORIKEET_HOME=/data LORIKEET_WEIGHTS=${WEIGHTS} \
  LORIKEET_MODEL=${BASE:+/data/models/base} NODE_COMPILE_CACHE=/data/cache/node
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Node is process 1: the server handles SIGTERM and SIGINT itself, and waits for its children.
CMD ["node", "bin/lorikeet.mjs", "serve"]
