# lorikeet in a container: no Python, no build step at start, not root.
#
#   docker build -t lorikeet .                                              the server, without a base's weights
#   docker build -t lorikeet:smollm2 --build-arg BASE=smollm2-135m-instruct .   with a base baked in, ready to map
#   docker build -t lorikeet:cuda --target cuda .                           with ONNX Runtime's CUDA 12 provider
#
# glibc only: ONNX Runtime publishes no musl build, so the images are Debian and Ubuntu, never Alpine.
ARG NODE_IMAGE=node:24-bookworm-slim
ARG CUDA_IMAGE=nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build \
  && npm prune --omit=dev \
  && node scripts/prune-runtimes.mjs \
  && rm -rf src adapters trainer test scripts docs infra examples .ci

# What both images run; one layer, readable by everybody, writable by root only.
FROM ${NODE_IMAGE} AS app
COPY --from=build /app /app

# The base that BASE names, quantized and laid out for the CPU; nothing where BASE is empty.
FROM app AS base
ARG BASE=""
ENV LORIKEET_HOME=/data
RUN mkdir -p /data/models \
  && if [ -n "${BASE}" ]; then \
    node /app/bin/lorikeet.mjs import "${BASE}" --out /data/models/base \
    && LORIKEET_MODEL=/data/models/base node /app/bin/lorikeet.mjs serve --prewarm; \
  fi \
  && chown -R node:node /data

FROM build AS cuda-libraries
RUN node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12

FROM ${CUDA_IMAGE} AS cuda
COPY --from=app /usr/local/bin/node /usr/local/bin/node
COPY --from=cuda-libraries /app /app
COPY --from=base --chown=1000:1000 /data /data
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 LORIKEET_HOME=/data
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "bin/lorikeet.mjs", "serve"]

# The last stage is the default one.
FROM app AS cpu
COPY --from=base --chown=node:node /data /data
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 LORIKEET_HOME=/data
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Node is process 1: the server handles SIGTERM and SIGINT itself, and waits for its children.
CMD ["node", "bin/lorikeet.mjs", "serve"]
