// A plugin for esbuild: modules that find programs and files relative to their own address still do so in a bundle.
import { readFileSync } from 'node:fs';

/**
 * Returns the plugin. `expressionsOf` returns the code that stands for properties of `import.meta` in a module of ours, by name.
 * @param {(file: string) => Readonly<Record<string, string>>} expressionsOf
 * @returns {import('esbuild').Plugin}
 */
export const ownAddresses = (expressionsOf) => ({
  name: 'own addresses',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
      if (file.includes('node_modules')) return undefined;
      const expressions = expressionsOf(file);
      const contents = readFileSync(file, 'utf8').replace(
        /\bimport\.meta\.(\w+)\b/g,
        (whole, property) => expressions[property] ?? whole,
      );
      return { contents, loader: 'ts' };
    });
  },
});
