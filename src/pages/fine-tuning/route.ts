// The views of the fine-tuning page, which the fragment of its address selects.

/** A view of the page, and what it shows. */
export type Route =
  | { readonly view: 'overview' }
  | {
      readonly view: 'new';
      /** The id of a job whose settings the form takes over. */
      readonly repeated: string | undefined;
      /** Its changed settings by field. */
      readonly changes: Readonly<Record<string, string>>;
    }
  | { readonly view: 'job' | 'run'; readonly id: string }
  | { readonly view: 'comparison'; readonly ids: readonly string[] };

/** Returns the view of a fragment such as `#ftjob-…`. Other fragments select the overview. */
export function toRoute(fragment: string): Route {
  const first = (pattern: RegExp) => pattern.exec(fragment)?.slice(1);
  const [job] = first(/^#(ftjob-\w+)$/) ?? [];
  if (job) return { view: 'job', id: job };
  const [run] = first(/^#(tinker-[0-9a-f]+:train:\d+)$/) ?? [];
  if (run) return { view: 'run', id: run };
  const [compared] = first(/^#compare=(ftjob-\w+(?:,ftjob-\w+)+)$/) ?? [];
  if (compared) return { view: 'comparison', ids: compared.split(',') };
  const form = first(/^#(?:new|repeat-(ftjob-\w+)(?:&(.*))?)$/);
  if (!form) return { view: 'overview' };
  const [repeated, changes] = form;
  return { view: 'new', repeated, changes: Object.fromEntries(new URLSearchParams(changes)) };
}
