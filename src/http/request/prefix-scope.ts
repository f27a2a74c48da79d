// The scope within which requests share cached prefixes. The engine sees only its digest.
import { createHash } from 'node:crypto';

/** The request's fields about the prefix cache. */
interface PrefixFields {
  readonly cache_salt?: string | null | undefined;
  readonly cache_prompt?: boolean | null | undefined;
}

/** Returns the scope of a tenant's request; undefined if the request does not want to share. */
export function prefixScope(tenant: string, fields: PrefixFields): string | undefined {
  if (fields.cache_prompt === false) return undefined;
  const salt = fields.cache_salt ?? '';
  // A tenant's id has no NUL, so a salt cannot imitate another tenant.
  return createHash('sha256').update(`${tenant}\0${salt}`).digest('base64url');
}
