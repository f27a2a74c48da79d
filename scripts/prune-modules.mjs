// For images, after the build: of node_modules stays what the bundle loads at run time, and of ONNX Runtime the libraries
// of this system.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { NOT_BUNDLED } from './not-bundled.mjs';

const MODULES = 'node_modules';
const RUNTIMES = path.join(MODULES, 'onnxruntime-node', 'bin');

prune(MODULES, withDependencies(NOT_BUNDLED));
for (const version of readdirSync(RUNTIMES)) {
  prune(path.join(RUNTIMES, version), new Set([`${process.platform}/${process.arch}`]));
}

/** Names of packages, those included that they depend on and that are installed beside them. */
function withDependencies(names) {
  const found = new Set();
  const add = (name) => {
    const folder = path.join(MODULES, name);
    if (found.has(name) || !existsSync(folder)) return;
    found.add(name);
    const { dependencies, optionalDependencies } = JSON.parse(
      readFileSync(path.join(folder, 'package.json'), 'utf8'),
    );
    for (const other of Object.keys({ ...dependencies, ...optionalDependencies })) add(other);
  };
  names.forEach(add);
  return found;
}

/** Deletes what is in `root` but `kept`: `name`, or `folder/name`. */
function prune(root, kept) {
  const folders = new Set([...kept].map((name) => name.split('/')[0]));
  for (const name of readdirSync(root)) {
    if (kept.has(name)) continue;
    if (!folders.has(name)) {
      rmSync(path.join(root, name), { recursive: true });
      continue;
    }
    const inside = [...kept].filter((one) => one.startsWith(`${name}/`));
    prune(path.join(root, name), new Set(inside.map((one) => one.slice(name.length + 1))));
  }
}
