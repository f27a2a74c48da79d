#!/usr/bin/env node
// Writes the file lists of ARCHITECTURE.md's code map from the tree; a folder needs its row there (test/architecture).
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const document = readFileSync('ARCHITECTURE.md', 'utf8');
const updated = document.replace(
  /^(\| `((?:src|adapters|trainer|bin|scripts)\/[^`]*|adapters\/|trainer\/)` \|[^|\n]*\|)[^|\n]*\|$/gm,
  (row, start, folder) => {
    if (!existsSync(folder)) return row;
    const files = readdirSync(folder).filter((name) => /\.(ts|mjs)$|^[a-z-]+\.js$/.test(name));
    const shown = files.filter((name) => !name.endsWith('.d.ts')).sort();
    return `${start} ${shown.join(', ')} |`;
  },
);
writeFileSync('ARCHITECTURE.md', updated);
