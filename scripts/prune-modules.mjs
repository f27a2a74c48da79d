// Prunes node_modules after the build, for images: keeps the packages that the bundle loads at run time, and ONNX Runtime's
// libraries for this system.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { NOT_BUNDLED } from './not-bundled.mjs';

const MODULES = 'node_modules';
const RUNTIMES = path.join(MODULES, 'onnxruntime-node', 'bin');

prune(MODULES, withDependencies(NOT_BUNDLED));
for (const version of readdirSync(RUNTIMES)) {
  prune(path.join(RUNTIMES, version), new Set([`${process.platform}/${process.arch}`]));
}

/** Adds the packages' installed dependencies to their names. */
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

/** Deletes everything in `root` except the names in `kept`, which are `name` or `folder/name`. */
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
