// The packages that the built program loads from node_modules: native code, and pino, which looks for
// files in its package folder. The bundle contains everything else.
export const NOT_BUNDLED = ['koffi', 'onnxruntime-node', 'pino'];
