// The packages that the built program loads from node_modules: native code, files that are served as they are, and pino,
// which finds files beside its own. The bundle has everything else.
export const NOT_BUNDLED = [
  'koffi',
  'onnxruntime-node',
  'marked',
  'swagger-ui-dist',
  'uplot',
  'pino',
];
