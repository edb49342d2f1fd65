import {existsSync} from 'node:fs';
import {fileURLToPath} from 'node:url';

/** The path of a file in assets/: in the package, or beside the bundle if this module was bundled. */
export function assetPath(name: string): string {
  const inPackage = fileURLToPath(new URL(`../assets/${name}`, import.meta.url));
  return existsSync(inPackage) ? inPackage : fileURLToPath(new URL(`assets/${name}`, import.meta.url));
}
