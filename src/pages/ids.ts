// Ids that sort by the time of their creation.

let lastId = '';

/** Creates an id that sorts after the earlier ones of this tab. `crypto.randomUUID` exists on HTTPS only. */
export function createId(): string {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const lastMs = Number.parseInt(lastId.slice(0, 9) || '0', 36);
  const ms = Math.max(Date.now(), lastMs + 1);
  lastId = ms.toString(36).padStart(9, '0') + [...random].map((n) => n.toString(36)).join('');
  return lastId;
}
