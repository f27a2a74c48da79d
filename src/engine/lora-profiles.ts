// Which linears an adapter graph covers. A few profiles, so that the number of sessions is bounded: an adapter of
// other targets is served by the smallest profile that covers it, with zeros where it has none.
import { TARGET_NAMES, type TargetName } from '../model/target-modules.ts';

const PROFILES: readonly (readonly TargetName[])[] = [
  ['q_proj', 'v_proj'],
  ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
  TARGET_NAMES,
];

/** The smallest profile with all of these linears. */
export function coveringTargets(targets: readonly TargetName[]): readonly TargetName[] {
  return PROFILES.find((profile) => targets.every((target) => profile.includes(target)))!;
}
