// A folder of adapters that a server reads, each with files of its own next to PEFT's.
import { cpSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { sampleFolder } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { TOY } from './served.ts';

export function adapterFolder() {
  const root = temporaryFolder();
  const local = [new FolderAdapters(root, { baseNames: ['toy'] })];
  /** Writes an adapter, and the values as JSON. */
  const write = (name: string, files: Readonly<Record<string, unknown>> = {}) => {
    const folder = path.join(root, name);
    cpSync(sampleFolder({ name }), folder, { recursive: true });
    for (const [file, value] of Object.entries(files))
      writeFileSync(path.join(folder, file), JSON.stringify(value));
    return folder;
  };
  return { root, write, registry: new Registry({ base: TOY, local }) };
}
