// The few things that pages do with the browser itself: find their places in the layout, copy and save.
import { request } from './api.ts';

/** Returns the element with this id. @throws Error if the page has none */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element with the id ${id}`);
  return element;
}

/** Reveals a part of the page that has loaded, by default all of it. */
export function showLoaded(id = 'main'): void {
  byId(id).classList.remove('loading');
}

/**
 * Copies a text to the clipboard. Browsers allow that only on HTTPS and localhost; elsewhere the old command is used. Resolves
 * with whether it was copied.
 */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text);
  }
}

function copyByCommand(text: string): boolean {
  const focused = document.activeElement as HTMLElement | null;
  const area = document.createElement('textarea');
  Object.assign(area, { className: 'hidden', value: text, ariaHidden: 'true' });
  (focused?.closest('dialog') ?? document.body).append(area); // an open dialog makes all else inert
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return isCopied;
}

/**
 * Downloads a file from the API. A link could not send the user's key, so the page fetches the file itself.
 * @param name the name that it is saved under
 * @throws ApiError
 */
export async function downloadFile(path: string, name: string): Promise<void> {
  saveBlob(await (await request(path)).blob(), name);
}

/** Saves bytes as a file on the user's machine. */
export function saveBlob(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
