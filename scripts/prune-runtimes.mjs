// Deletes ONNX Runtime's libraries for other systems than this one from node_modules: 200 MB less in an image.
import { readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const main = createRequire(import.meta.url).resolve('onnxruntime-node');
const root = path.join(
  main.slice(0, main.lastIndexOf('onnxruntime-node')),
  'onnxruntime-node',
  'bin',
);
const kept = path.join(process.platform, process.arch);

for (const version of readdirSync(root)) {
  for (const platform of readdirSync(path.join(root, version))) {
    for (const arch of readdirSync(path.join(root, version, platform))) {
      if (path.join(platform, arch) === kept) continue;
      rmSync(path.join(root, version, platform, arch), { recursive: true });
    }
  }
}
