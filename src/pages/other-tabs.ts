// Hands the key from an open tab to a new one of the same server, so that a session ends with its last tab: the key is never in
// storage that outlives the tabs. Other pages of this origin could already read it.
import { apiKey, serverPath, tabTenant } from './key.ts';

type Message =
  | { readonly kind: 'ask'; readonly id: string }
  | { readonly kind: 'answer'; readonly id: string; readonly key: string; readonly tenant: string };

/** Servers below other paths of an origin have other keys. */
const channel = new BroadcastChannel(`lorikeet ${serverPath()}`);
/** Marks a tab whose user has signed out. */
const OUT = 'lorikeet.out';
/** Other tabs answer within a few milliseconds, unless the browser has suspended them. */
const ANSWER_MS = 150;

const send = (message: Message) => channel.postMessage(message);

function onMessage(act: (message: Message) => void): void {
  channel.addEventListener('message', ({ data }: MessageEvent<Message>) => act(data));
}

onMessage((message) => {
  const [key, tenant] = [apiKey(), tabTenant()];
  if (message.kind !== 'ask' || key === undefined || tenant === undefined) return;
  send({ kind: 'answer', id: message.id, key, tenant });
});

/**
 * Returns the key of the other tabs. A tab that a tenant has used before gets none, because the page may show that tenant's data.
 * Neither does one whose user has signed out, nor one if the others belong to several tenants: nobody knows whose it is.
 */
export async function askOtherTabs(): Promise<string | undefined> {
  if (tabTenant() !== undefined || sessionStorage.getItem(OUT) !== null) return undefined;
  const id = String(Math.random());
  const keys = new Map<string, string>(); // by tenant
  onMessage((message) => {
    if (message.kind === 'answer' && message.id === id) keys.set(message.tenant, message.key);
  });
  send({ kind: 'ask', id });
  await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
  return keys.size === 1 ? keys.values().next().value : undefined;
}

/** Keeps this tab signed out until the user enters a key. */
export function stayOut(): void {
  sessionStorage.setItem(OUT, '');
}
