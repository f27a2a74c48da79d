// A plugin for esbuild: lets modules that find programs and files relative to their address do so in a bundle.
import { readFileSync } from 'node:fs';

/**
 * Returns the plugin. `expressionsOf` returns, by name, the code that replaces the properties of `import.meta` in one of our
 * modules.
 * @param {(file: string, text: string) => Readonly<Record<string, string>>} expressionsOf
 * @returns {import('esbuild').Plugin}
 */
export const ownAddresses = (expressionsOf) => ({
  name: 'own addresses',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
      if (file.includes('node_modules')) return undefined;
      const text = readFileSync(file, 'utf8');
      const expressions = expressionsOf(file, text);
      const contents = text.replace(
        /\bimport\.meta\.(\w+)\b/g,
        (whole, property) => expressions[property] ?? whole,
      );
      return { contents, loader: 'ts' };
    });
  },
});
