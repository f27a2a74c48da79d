// This package's version, read from package.json: the same from the sources and from dist/.
import { createRequire } from 'node:module';

const packageJson: { version: string } = createRequire(import.meta.url)('#package.json');

export const VERSION = packageJson.version;
