// The playground's settings as an address. Models are its query; what the reader typed is behind the `#`, which browsers
// send to no server. Pure.

/**
 * @typedef {object} Link
 * @property {readonly string[]} models the first, and those beside it
 * @property {string} system
 * @property {string} prompt
 * @property {Readonly<Record<string, string>>} parameters by the API's name, as typed
 */

/** @param {Link} link @returns {string} `?query#fragment` */
export function toAddress({ models: [model = '', ...beside], system, prompt, parameters }) {
  const query = new URLSearchParams([
    ['model', model],
    ...beside.filter(Boolean).map((name) => ['beside', name]),
  ]);
  const typed = Object.entries({ ...parameters, system, prompt }).filter(([, value]) => value);
  const fragment = new URLSearchParams(typed).toString();
  return `?${query}${fragment && `#${fragment}`}`;
}

/**
 * @param {string} address `?query#fragment`
 * @param {readonly string[]} names of parameters; others are ignored
 * @returns {Link} no models: it names none
 */
export function parseAddress(address, names) {
  const { searchParams, hash } = new URL(address, 'http://localhost/');
  const typed = new URLSearchParams(hash.slice(1));
  const parameters = Object.fromEntries(
    names.flatMap((name) => {
      const value = typed.get(name);
      return value === null ? [] : [[name, value]];
    }),
  );
  const model = searchParams.get('model') ?? '';
  return {
    models: model === '' ? [] : [model, ...searchParams.getAll('beside').filter(Boolean)],
    system: typed.get('system') ?? '',
    prompt: typed.get('prompt') ?? '',
    parameters,
  };
}
