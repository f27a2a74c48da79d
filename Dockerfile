# lorikeet in a container. It needs no Python, no compiler and no root, and builds nothing at its start.
#
#   docker build -t lorikeet .                                                  the server without weights
#   docker build -t lorikeet:smollm2 --build-arg BASE=smollm2-135m-instruct .   with a base, ready to serve
#   docker build -t lorikeet:cuda --target cuda .                               with ONNX Runtime's CUDA 12 provider
#
# glibc only: ONNX Runtime publishes no musl build, so the images are Debian and Ubuntu, never Alpine.
ARG NODE_IMAGE=node:24-bookworm-slim
ARG CUDA_IMAGE=nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04
# A source for `lorikeet import`: a catalogue name or hub id. If empty, the first start downloads a base.
ARG BASE=""
# int8, nf4 or f32: the form of the weights in the baked-in serving files.
ARG WEIGHTS=int8

FROM ${NODE_IMAGE} AS build
WORKDIR /app
# A separate layer: an edit of the sources does not reinstall the packages.
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

FROM build AS pruned
RUN node scripts/prune-modules.mjs

# The application of both images: readable by everybody, writable only by root.
FROM ${NODE_IMAGE} AS app
WORKDIR /app
COPY --from=pruned /app/node_modules node_modules
COPY --from=build /app/package.json /app/LICENSE /app/NOTICE ./
COPY --from=build /app/models models
COPY --from=build /app/native native
COPY --from=build /app/bin bin
COPY --from=build /app/dist dist

# The quantized base, its serving files for the CPU, and the caches of a first start.
FROM app AS base
ARG BASE
ARG WEIGHTS
ENV LORIKEET_HOME=/data LORIKEET_WEIGHTS=${WEIGHTS} NODE_COMPILE_CACHE=/data/cache/node
# The server's user owns the mount points of volumes.
RUN mkdir -p /data/models /data/jobs /data/cache/adapters /data/cache/batches /data/cache/jobs /data/cache/tinker \
    /data/cache/uploads \
  && if [ -n "${BASE}" ]; then \
    node bin/lorikeet.mjs import "${BASE}" --out /data/models/base; \
  fi \
  && chown -R 1000:1000 /data
# Node keeps a compile cache per user.
USER 1000:1000
RUN if [ -n "${BASE}" ]; then \
    LORIKEET_MODEL=/data/models/base node bin/lorikeet.mjs serve --prewarm; \
  fi

FROM build AS cuda-libraries
# The download also has TensorRT's provider, which is not used.
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

# The last stage is the default.
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
