// What the built program loads from node_modules: native code, files that are served as they are, and pino, which finds
// its own files beside itself. All else is in the bundle.
export const NOT_BUNDLED = [
  'koffi',
  'onnxruntime-node',
  'marked',
  'swagger-ui-dist',
  'uplot',
  'pino',
];
