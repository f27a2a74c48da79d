// Human-readable sizes.

/**
 * Formats the size of a file in MiB, the unit of the settings. Rounds up, so that a file over a limit never seems to meet it.
 * Sizes below 0.1 MiB are exact.
 */
export function formatFileSize(bytes: number): string {
  if (bytes < MIB / 10) return `${bytes} bytes`;
  return `${Math.ceil((10 * bytes) / MIB) / 10} MiB`;
}

const MIB = 2 ** 20;

/** Formats bytes in powers of 1000, such as `1.8 MB`, as disks and networks are sold. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB'];
  const step = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return `${step === 0 ? bytes : (bytes / 1000 ** step).toFixed(1)} ${units[step]}`;
}
