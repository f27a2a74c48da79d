#!/usr/bin/env node
// Runs the built program if it is up to date, else the sources: a checkout needs no build step, and an old build never
// hides an edit. If Node cannot strip types itself (before 22.18), the sources run through tsx.
import { existsSync, readdirSync, statSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const built = new URL('dist/src/main.js', root);
const source = new URL('src/main.ts', root);

if (isUpToDate()) {
  await import(built.href);
} else {
  if (!process.features.typescript) {
    const { register } = await import('tsx/esm/api');
    register();
  }
  await import(source.href);
}

/** An installed package has no sources; in a checkout the build must be younger than all of them. */
function isUpToDate() {
  if (!existsSync(built)) return false;
  if (!existsSync(source)) return true;
  const builtMs = statSync(built).mtimeMs;
  return ['src', 'adapters', 'trainer']
    .map((folder) => new URL(`${folder}/`, root))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true }).map((name) => new URL(name, folder)),
    )
    .every((file) => statSync(file).mtimeMs <= builtMs);
}
