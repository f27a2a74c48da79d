// Downloads in the reader's name: a link cannot carry a key, so the page fetches the file and hands it to the browser.
import { request } from './api.js';
import { el } from './dom.js';

/** @param {string} path @param {string} name that the file is saved under @throws {import('./api.js').ApiError} */
export async function saveFile(path, name) {
  const blob = await (await request(path)).blob();
  const link = el('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}
