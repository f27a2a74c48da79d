// The page loads the package's own file as a classic script, which defines this global.
import 'papaparse';

interface PapaOptions {
  skipEmptyLines: 'greedy';
  complete(results: {
    data: string[][];
    errors: { type: string; message: string; row?: number }[];
  }): void;
  error(error: { message: string }): void;
}

declare global {
  const Papa: { parse(file: File, options: PapaOptions): void };
}
