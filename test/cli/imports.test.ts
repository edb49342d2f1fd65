import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';

const dist = fileURLToPath(new URL('../../dist', import.meta.url));

// TypeScript leaves the names of sources in dynamic imports of functions that have a `using` declaration.
test('every module that dist/ imports is there', t => {
  const files = readdirSync(dist, {recursive: true, encoding: 'utf8'}).filter(name => name.endsWith('.js'));
  t.true(files.length > 100);
  for (const name of files) {
    const path = join(dist, name);
    for (const [, module] of readFileSync(path, 'utf8').matchAll(
      /\b(?:from|import)\b[ (]*['"](\.[^'"]+)['"]/g,
    )) {
      t.true(existsSync(join(dirname(path), module!)), `${name}: ${module}`);
    }
  }
});
