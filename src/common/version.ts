// This package's version from package.json. It is the same in the sources and in dist/.
import { createRequire } from 'node:module';

const packageJson: { version: string } = createRequire(import.meta.url)('#package.json');

export const VERSION = packageJson.version;
