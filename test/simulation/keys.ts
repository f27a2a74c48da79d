// The keys file of all servers, and when which key was revoked.
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createKeyDigest } from '../../src/tenants/api-key.ts';
import { TENANTS } from './commands.ts';

interface Key {
  readonly tenant: string;
  readonly text: string;
  isRevoked: boolean;
}

const KEYS_PER_TENANT = 2;
const LIMITS = { requestsPerMinute: 20, tokensPerMinute: 900 };
const digest = createKeyDigest(undefined);

/** The keys of the world. */
export class WorldKeys {
  /** Key → when it was revoked, in virtual milliseconds. */
  readonly revokedAtMs = new Map<string, number>();
  readonly file: string;
  readonly #keys: readonly Key[];

  /** Writes the file. */
  constructor(file: string) {
    this.file = file;
    this.#keys = TENANTS.flatMap((tenant) =>
      Array.from({ length: KEYS_PER_TENANT }, (_, i) => {
        const id = createHash('sha256').update(`${tenant}${i}`).digest('hex').slice(0, 12);
        return { tenant, text: `lorikeet_${id}_${'s'.repeat(43)}`, isRevoked: false };
      }),
    );
    this.#write();
  }

  /** The text of a tenant's key. */
  textOf(tenant: string, index: number): string {
    return this.#find(tenant, index).text;
  }

  /** Revokes a key, or gives it back. */
  change(of: { tenant: string; key: number; isRevoked: boolean }, nowMs: number): void {
    const key = this.#find(of.tenant, of.key);
    if (key.isRevoked === of.isRevoked) return;
    key.isRevoked = of.isRevoked;
    if (key.isRevoked) this.revokedAtMs.set(key.text, nowMs);
    else this.revokedAtMs.delete(key.text);
    this.#write();
  }

  #find(tenant: string, index: number): Key {
    return this.#keys.filter((key) => key.tenant === tenant)[index]!;
  }

  #write(): void {
    const keys = this.#keys.filter(({ isRevoked }) => !isRevoked);
    const content = {
      version: 1,
      tenants: { a: {}, b: { weight: 2, limits: LIMITS }, c: { limits: LIMITS } },
      keys: keys.map(({ tenant, text }) => ({
        id: text.split('_')[1],
        tenant,
        created: '2026-01-01T00:00:00.000Z',
        sha256: digest(text).toString('hex'),
      })),
    };
    writeFileSync(this.file, JSON.stringify(content));
  }
}
